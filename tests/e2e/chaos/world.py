"""What should be there, beside the driver that makes it so."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from tests.e2e.driver import MIB, Driver, Refused, Volume, checksum, insist, write_pattern
from tests.e2e.lab.lab import Lab

T = TypeVar("T")
WRITTEN_MIB = 4
GROWTH_MIB = 16
# What the sidecars and kubelet call again for. INTERNAL: tgtd died between two requests of a call.
RETRIED = ("ABORTED", "UNAVAILABLE", "INTERNAL", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED")
# A host boots in that, on a builder that does other things beside.
PATIENCE_SECONDS = 240.0


@dataclass
class Known:
    """A volume, as its user remembers it."""

    volume: Volume
    size_mib: int
    kind: str
    node: str = ""
    content: str = ""
    """The checksum of what was written; empty: nothing was."""


@dataclass
class Taken:
    """A snapshot, as its user remembers it."""

    id: str
    of: Known
    content: str
    size_mib: int


@dataclass
class World:
    """The operations, each called again until it succeeds, and what came of them."""

    lab: Lab
    driver: Driver
    prefix: str
    volumes: list[Known] = field(default_factory=list)
    snapshots: list[Taken] = field(default_factory=list)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def create(self, kind: str, size_mib: int, *, block: bool) -> None:
        """Make an empty volume."""
        name = self._name()
        volume = self._insist(
            partial(self.driver.create, name, block=block, size=size_mib * MIB, provisioner=kind)
        )
        self.volumes.append(Known(volume, size_mib, kind))

    def create_of(self, source: Known | Taken, kind: str) -> None:
        """Make a volume of a snapshot or volume, which may be in use."""
        known = source.of if isinstance(source, Taken) else source
        source_id = source.id if isinstance(source, Taken) else source.volume.id
        volume = self._insist(
            partial(
                self.driver.create,
                self._name(),
                block=known.volume.block,
                size=source.size_mib * MIB,
                source=source_id,
                provisioner=kind,
            )
        )
        self.volumes.append(Known(volume, source.size_mib, kind, content=source.content))

    def snapshot(self, known: Known) -> None:
        """Take a snapshot."""
        snapshot_id = self._insist(partial(self.driver.snapshot, self._name(), known.volume))
        self.snapshots.append(Taken(snapshot_id, known, known.content, known.size_mib))

    def delete_snapshot(self, taken: Taken) -> None:
        """Delete a snapshot."""
        self._insist(partial(self.driver.delete_snapshot, taken.id))
        self.snapshots.remove(taken)

    def attach(self, known: Known, node: str) -> None:
        """Have a volume in a pod. Where the node lost its power in between, kubelet stages anew."""
        self._insist(partial(self.driver.publish, known.volume, node))
        while not known.node:
            self._insist(partial(self.driver.stage, known.volume, node))
            try:
                self._insist(partial(self.driver.publish_to_pod, known.volume, node))
            except Refused as error:
                if error.code != "FAILED_PRECONDITION":
                    raise
                self._insist(partial(self.driver.unstage, known.volume, node))
            else:
                known.node = node

    def write(self, known: Known, text: str) -> None:
        """Write as a pod does, until it is on the disk."""
        host = self.lab.host(known.node)
        write_pattern(host, known.volume, text, mib=WRITTEN_MIB)
        known.content = checksum(host, known.volume, mib=WRITTEN_MIB)

    def may_grow(self, known: Known) -> bool:
        """Whether it can: LVM grows no origin of thick snapshots."""
        return known.kind == "thin" or all(taken.of is not known for taken in self.snapshots)

    def grow(self, known: Known) -> None:
        """Make a volume larger, in use or not."""
        known.size_mib += GROWTH_MIB
        self._insist(partial(self.driver.expand, known.volume, known.size_mib * MIB))
        if not known.node:
            return
        on_node = partial(self.driver.expand_on, known.volume, known.node, known.size_mib * MIB)
        try:
            self._insist(on_node)
        except Refused as error:
            if error.code not in ("NOT_FOUND", "FAILED_PRECONDITION"):
                raise
            # The node lost its power: kubelet stages anew, then grows.
            node, known.node = known.node, ""
            self.attach(known, node)
            self._insist(on_node)

    def detach(self, known: Known) -> None:
        """Take a volume from its pod and node."""
        for step in (
            self.driver.unpublish_from_pod,
            self.driver.unstage,
            self.driver.unpublish,
        ):
            self._insist(partial(step, known.volume, known.node))
        known.node = ""

    def lost_power(self, node: str) -> None:
        """A node booted: kubelet cleans up after its pods, which are made again elsewhere."""
        for known in self.volumes:
            if known.node == node:
                self.detach(known)

    def delete(self, known: Known) -> None:
        """Delete a volume; its snapshots stay."""
        self._insist(partial(self.driver.delete, known.volume))
        self.volumes.remove(known)

    def check_contents(self) -> None:
        """Read each volume, and each snapshot through a volume made of it."""
        for known in list(self.volumes):
            self._check(known)
        for taken in self.snapshots:
            self.create_of(taken, taken.of.kind)
            restored = self.volumes[-1]
            self._check(restored)
            self.delete(restored)

    def clear(self) -> None:
        """Delete everything."""
        for known in list(self.volumes):
            if known.node:
                self.detach(known)
            self.delete(known)
        for taken in list(self.snapshots):
            self.delete_snapshot(taken)

    def _check(self, known: Known) -> None:
        if not known.content:
            return
        attached = bool(known.node)
        if not attached:
            self.attach(known, "compute-1")
        found = checksum(self.lab.host(known.node), known.volume, mib=WRITTEN_MIB)
        assert found == known.content, f"{known.volume.id} has not what was written to it"
        if not attached:
            self.detach(known)

    def _name(self) -> str:
        return f"{self.prefix}-{next(self._numbers)}"

    def _insist(self, call: Callable[[], T]) -> T:
        return insist(call, *RETRIED, seconds=PATIENCE_SECONDS)
