"""`python -m tests.e2e.bench`: our time beside the bare commands' in one lab run, and our memory.

The sides take turns step by step, each round with fresh volumes. Ends with 1 if publishing and
staging takes us more than LIMIT times as long as the bare commands.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.e2e.bench import memory, report
from tests.e2e.bench.sides import STEPS, Bare, Ours, Side
from tests.e2e.lab.lab import DEFAULT_DIRECTORY, Lab

LIMIT = 1.5
AT_ONCE = 10


def settle(lab: Lab) -> None:
    """Wait until the hosts' udev has done what the step before left it to do."""
    for host in lab.hosts.values():
        host.exec("udevadm", "settle").check()


def take_turns(lab: Lab, sides: dict[str, Side], rounds: int) -> dict[str, report.Samples]:
    """Do each step on each side, so many times; who is first changes with each round."""
    samples: dict[str, report.Samples] = {name: {step: [] for step in STEPS} for name in sides}
    order = list(sides)
    for number in range(1, rounds + 1):
        _say(f"round {number} of {rounds}")
        for step in STEPS:
            for name in order:
                settle(lab)
                samples[name][step].append(sides[name].run(step, number))
        order.reverse()
    return samples


def attach_at_once(lab: Lab, side: Side, numbers: list[int]) -> float:
    """The time to publish and stage volumes all at once; what is around that goes one by one."""
    for number in numbers:
        side.run("create", number)
    settle(lab)
    seconds = side.attach_at_once(numbers)
    for step in ("unstage", "unpublish", "delete"):
        for number in numbers:
            side.run(step, number)
    return seconds


def bench(lab: Lab, rounds: int) -> dict[str, Any]:
    """Measure all, print it, and return it."""
    load = [os.getloadavg()[0]]
    sides: dict[str, Side] = {"ours": Ours(lab), "bare": Bare(lab)}
    empty = memory.of_empty_role(lab.host("compute-1"))
    at_rest = memory.of_roles(lab)
    # The pool is active while it has volumes: without one that stays, first come would pay for it.
    sides["bare"].run("create", rounds + AT_ONCE + 1)
    samples = take_turns(lab, sides, rounds)
    _say(f"{AT_ONCE} at once")
    numbers = list(range(rounds + 1, rounds + 1 + AT_ONCE))
    at_once = {name: attach_at_once(lab, side, numbers) for name, side in sides.items()}
    afterwards = memory.of_roles(lab)

    load.append(os.getloadavg()[0])

    print(
        f"{rounds} rounds, {os.cpu_count()} CPUs; load {load[0]:.1f} before, {load[1]:.1f} after\n"
    )
    print(report.times(samples["ours"], samples["bare"]))
    sums = ", ".join(f"{name} {1000 * seconds:.0f} ms" for name, seconds in at_once.items())
    print(f"\n{AT_ONCE} x publish + stage at once: {sums}\n")
    print(report.memories(empty, at_rest, afterwards))
    return {
        "load": load,
        "seconds": samples,
        "seconds_at_once": at_once,
        "memory_kib": {
            "empty": asdict(empty),
            "at_rest": {name: asdict(each) for name, each in at_rest.items()},
            "afterwards": {name: asdict(each) for name, each in afterwards.items()},
        },
    }


def main() -> int:
    """Run it in a lab of its own; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="how often (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    options = parser.parse_args()
    with Lab(Path(f"{DEFAULT_DIRECTORY}-bench")) as lab:
        lab.up(storage=1, compute=1, report=_say)
        lab.enter_network()
        figures = bench(lab, options.rounds)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    samples = figures["seconds"]
    found = report.ratio(report.attach(samples["ours"]), report.attach(samples["bare"]))
    kept = found <= LIMIT
    print(
        f"\npublish + stage: {found:.2f} x bare; at most {LIMIT} is {'kept' if kept else 'MISSED'}"
    )
    return 0 if kept else 1


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
