"""What one storage host lends another, and takes back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from csi_lvm_iscsi.controller.snapshots import Snapshots
from csi_lvm_iscsi.controller.sources import Sources
from csi_lvm_iscsi.controller.volumes import Volumes
from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.model.errors import Unavailable
from csi_lvm_iscsi.model.volumes import Volume
from tests.unit.controller.hosts import GIB, Host, Inventory, pool

SNAPSHOT = names.snapshot_id("lender-vg0", "s")


class Lender(Host):
    """A storage host that tells what it was asked for."""

    def __init__(self) -> None:
        super().__init__("lender", pool())
        self.calls: list[str] = []

    async def unpublish(self, volume_id: str, node_id: str) -> None:
        await self._answers()
        self.calls.append(f"unpublish {volume_id} {node_id}".strip())

    async def delete_snapshot(self, snapshot_id: str) -> None:
        self.calls.append(f"delete {snapshot_id}")


class Reader(Host):
    """A storage host that copies from it."""

    def __init__(self, lender: Lender, *copying: Volume) -> None:
        super().__init__("reader", pool())
        self.made = {each.id: each for each in copying}
        self.calls = lender.calls

    async def volumes(self) -> list[Volume]:
        return list(self.made.values())

    async def delete(self, volume_id: str, *, source_taken_back: bool = False) -> tuple[str, bool]:
        kept = self.made[volume_id].copying and not source_taken_back
        self.calls.append("stop its copy" if kept else "delete the volume")
        return self.made[volume_id].source_id, kept


class Pair(Inventory):
    """The two."""

    @property
    def known(self) -> list[Host]:
        return self.hosts

    def owner(self, volume_id: str) -> Host:
        return self.hosts["reader" in volume_id]


def volume(name: str, source_id: str = SNAPSHOT) -> Volume:
    return Volume(f"reader-{name}", name, GIB, source_id=source_id)


def copying(name: str, source_id: str = SNAPSHOT) -> Volume:
    return replace(volume(name, source_id), copying=True)


async def test_a_snapshot_is_taken_back_by_the_last_that_reads_it() -> None:
    lender = Lender()
    reader = Reader(lender, copying("a"), copying("b"), copying("c", "something else"))
    sources = Sources(Pair(lender, reader))  # type: ignore[arg-type]
    await sources.take_back(SNAPSHOT, reader, "reader-a")  # type: ignore[arg-type]
    assert lender.calls == []
    del reader.made["reader-a"]
    await sources.take_back(SNAPSHOT, reader, "reader-b")  # type: ignore[arg-type]
    assert lender.calls == [f"unpublish {SNAPSHOT} reader"]


async def test_a_volume_goes_only_when_what_was_lent_for_it_was_taken_back() -> None:
    lender = Lender()
    source = names.volume_id("lender-vg0", "data")
    reader = Reader(lender, copying("a", source))
    await Volumes(Pair(lender, reader)).delete("reader-a")  # type: ignore[arg-type]
    lent = names.copy_snapshot_id(source, "reader-a")
    assert lender.calls == [
        "stop its copy",
        f"unpublish {lent}",
        f"delete {lent}",
        "delete the volume",
    ]


async def test_a_volume_that_is_done_goes_though_its_lender_is_silent() -> None:
    """What it was lent is usually back already; here the call that took it back was lost."""
    for silent, calls in ((False, [f"unpublish {SNAPSHOT} reader"]), (True, [])):
        lender = Lender()
        lender.silent = silent
        reader = Reader(lender, volume("a"))
        await Volumes(Pair(lender, reader)).delete("reader-a")  # type: ignore[arg-type]
        assert lender.calls == ["delete the volume", *calls]


async def test_a_half_made_volume_stays_while_its_lender_is_silent() -> None:
    lender = Lender()
    lender.silent = True
    reader = Reader(lender, copying("a"))
    with pytest.raises(Unavailable, match="lender is silent"):
        await Volumes(Pair(lender, reader)).delete("reader-a")  # type: ignore[arg-type]
    assert lender.calls == ["stop its copy"]


async def test_a_snapshot_that_is_lent_to_a_retired_host_can_be_deleted() -> None:
    """That one gives nothing back any more."""
    lender = Lender()
    reader = Reader(lender, copying("a"))
    snapshots = Snapshots(Pair(lender, reader))  # type: ignore[arg-type]
    await snapshots.delete(SNAPSHOT)
    assert lender.calls == [f"delete {SNAPSHOT}"]
    lender.calls.clear()
    reader.entry = replace(reader.entry, retired=True)
    await snapshots.delete(SNAPSHOT)
    assert lender.calls == [f"unpublish {SNAPSHOT} reader", f"delete {SNAPSHOT}"]
