"""The state machine, run against the lab; CHAOS_SEED repeats a run."""

from __future__ import annotations

import os
import random

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.e2e.chaos.machine import Chaos
from tests.e2e.chaos.world import World
from tests.e2e.driver import Driver
from tests.e2e.lab.lab import Lab

# The first run of hypothesis is always the simplest that there is.
SHORT, LONG = (3, 14), (25, 40)
# The short one is the same each time, so that it fails for what was changed; it is one that failed
# once. New ones are looked for by `make test-chaos`.
SHORT_SEED = 838467110


@pytest.mark.parametrize("length", [SHORT, pytest.param(LONG, marks=pytest.mark.slow)])
def test_whatever_happens_all_that_is_wanted_is_there_once(
    lab: Lab, driver: Driver, length: tuple[int, int], capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = SHORT_SEED if length == SHORT else random.SystemRandom().randrange(2**32)
    chosen = int(os.environ.get("CHAOS_SEED") or drawn)

    def log(text: str) -> None:
        with capsys.disabled():
            print(f"chaos: {text}", flush=True)

    runs, steps = length
    log(f"CHAOS_SEED={chosen}, {runs} runs of {steps} steps")
    numbers = iter(range(runs * 1000))

    class Machine(Chaos):
        new_world = staticmethod(lambda: World(lab, driver, f"chaos-{chosen}-{next(numbers)}"))

    Machine.log = staticmethod(log)
    run_state_machine_as_test(
        seed(chosen)(Machine),
        settings=settings(
            max_examples=runs,
            stateful_step_count=steps,
            # A real lab is too slow to look for the shortest way to a failure.
            phases=[Phase.generate],
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
        _min_steps=steps,  # else most runs are of a step or two
    )
