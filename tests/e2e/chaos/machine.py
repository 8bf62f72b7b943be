"""The state machine: what may happen next, and with which fault beside it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ClassVar, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.e2e.chaos import invariants
from tests.e2e.chaos.faults import FAULTS
from tests.e2e.chaos.world import Known, Taken, World

T = TypeVar("T")
NODES = ("compute-1", "compute-2")
MOST_VOLUMES = 6
SIZES_MIB = (32, 64)
KINDS = st.sampled_from(("thin", "thin", "thick"))
NUMBERS = st.integers(min_value=0, max_value=99)
# In milliseconds after the operation began.
MOMENTS = st.integers(min_value=0, max_value=1500)


class Chaos(RuleBasedStateMachine):
    """A state machine over a lab; each run of it begins with an empty world and ends with one."""

    new_world: ClassVar[Callable[[], World]]
    log: ClassVar[Callable[[str], None]]

    @initialize()
    def begin(self) -> None:
        self.world = type(self).new_world()
        type(self).log("a run begins")

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        invariants.check(self.world)
        self.world.check_contents()
        self.world.clear()
        invariants.check(self.world)

    def _done(self, text: str, operation: Callable[[], object]) -> None:
        began = time.monotonic()
        operation()
        type(self).log(f"{text}: {time.monotonic() - began:.1f} s")

    # Which of those that there are is a number: hypothesis draws it before it knows them.

    def _some(self, number: int, among: list[T]) -> T:
        return among[number % len(among)]

    def _detached(self) -> list[Known]:
        return [known for known in self.world.volumes if not known.node]

    def _growing(self) -> list[Known]:
        return [known for known in self.world.volumes if self.world.may_grow(known)]

    def _attached(self) -> list[Known]:
        return [known for known in self.world.volumes if known.node]

    @precondition(lambda self: len(self.world.volumes) < MOST_VOLUMES)
    @rule(kind=KINDS, size=st.sampled_from(SIZES_MIB), block=st.booleans())
    def create(self, kind: str, size: int, block: bool) -> None:  # noqa: FBT001
        self._done(f"create {kind}", lambda: self.world.create(kind, size, block=block))

    @precondition(lambda self: self._detached())
    @rule(number=NUMBERS, node=st.sampled_from(NODES))
    def attach_and_write(self, number: int, node: str) -> None:
        known = self._some(number, self._detached())

        def both() -> None:
            self.world.attach(known, node)
            self.world.write(known, f"{known.volume.name} on {node} {number}")

        self._done(f"attach {known.volume.name} to {node} and write", both)

    @precondition(lambda self: self._attached())
    @rule(number=NUMBERS)
    def write(self, number: int) -> None:
        known = self._some(number, self._attached())
        self._done(
            f"write to {known.volume.name}", lambda: self.world.write(known, f"again {number}")
        )

    @precondition(lambda self: self._growing())
    @rule(number=NUMBERS)
    def grow(self, number: int) -> None:
        known = self._some(number, self._growing())
        self._done(f"grow {known.volume.name}", lambda: self.world.grow(known))

    @precondition(lambda self: self._attached())
    @rule(number=NUMBERS)
    def detach(self, number: int) -> None:
        known = self._some(number, self._attached())
        self._done(f"detach {known.volume.name}", lambda: self.world.detach(known))

    @precondition(lambda self: self._detached())
    @rule(number=NUMBERS)
    def delete(self, number: int) -> None:
        known = self._some(number, self._detached())
        self._done(f"delete {known.volume.name}", lambda: self.world.delete(known))

    @precondition(lambda self: self.world.volumes and len(self.world.snapshots) < MOST_VOLUMES)
    @rule(number=NUMBERS)
    def snapshot(self, number: int) -> None:
        known = self._some(number, self.world.volumes)
        self._done(f"snapshot {known.volume.name}", lambda: self.world.snapshot(known))

    @precondition(lambda self: self.world.snapshots)
    @rule(number=NUMBERS)
    def delete_snapshot(self, number: int) -> None:
        taken = self._some(number, self.world.snapshots)
        self._done(f"delete {taken.id}", lambda: self.world.delete_snapshot(taken))

    @precondition(
        lambda self: (
            (self.world.snapshots or self.world.volumes) and len(self.world.volumes) < MOST_VOLUMES
        )
    )
    @rule(number=NUMBERS, kind=KINDS)
    def create_of(self, number: int, kind: str) -> None:
        sources: list[Known | Taken] = [*self.world.snapshots, *self.world.volumes]
        source = self._some(number, sources)
        self._done(f"{kind} of a source", lambda: self.world.create_of(source, kind))

    @rule(
        fault=st.sampled_from(sorted(FAULTS)),
        number=NUMBERS,
        moment=MOMENTS,
        kind=KINDS,
    )
    def fault(self, fault: str, number: int, moment: int, kind: str) -> None:
        """An operation, chosen by `number`, with a fault in the midst of it."""
        operations = self._operations(kind)
        text, operation = self._some(number, operations)
        host = self.world.lab.host(f"{FAULTS[fault].hosts}-{1 + number % 2}")
        self._done(
            f"{text}, after {moment} ms {fault} on {host.name}",
            lambda: self._struck(operation, fault, host.name, moment / 1000),
        )

    def _operations(self, kind: str) -> list[tuple[str, Callable[[], None]]]:
        world = self.world
        found: list[tuple[str, Callable[[], None]]] = []
        for known in self._detached():
            found.append(("attach", partial(world.attach, known, NODES[0])))
            found.append(("snapshot", partial(world.snapshot, known)))
            found.append(("delete", partial(world.delete, known)))
        found += [("grow", partial(world.grow, known)) for known in self._growing()]
        found += [("detach", partial(world.detach, known)) for known in self._attached()]
        found += [("delete snapshot", partial(world.delete_snapshot, t)) for t in world.snapshots]
        if len(world.volumes) < MOST_VOLUMES:
            found.append(("create", partial(world.create, kind, 64, block=True)))
            found += [("restore", partial(world.create_of, t, kind)) for t in world.snapshots]
        return found

    def _struck(
        self, operation: Callable[[], None], fault: str, host: str, after_seconds: float
    ) -> None:
        chosen, target = FAULTS[fault], self.world.lab.host(host)
        with ThreadPoolExecutor(1) as threads:
            working = threads.submit(operation)
            # The moment itself is what is drawn: nothing is awaited here.
            threading.Event().wait(after_seconds)
            chosen.strike(target)
            if "network" in fault:
                threading.Event().wait(after_seconds)
            chosen.heal(target)
            working.result()
        chosen.aftermath(self.world, host)
