"""Thin pools are extended before they are full, while their volume group has free extents."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from csi_lvm_iscsi.model.errors import OutOfSpace
from csi_lvm_iscsi.storage import extending
from csi_lvm_iscsi.storage.catalog import Catalog
from csi_lvm_iscsi.storage.extending import Extender
from csi_lvm_iscsi.storage.pools import Limits, Place, Pools
from csi_lvm_iscsi.storage.report import VolumeGroup
from csi_lvm_iscsi.storage.thin_status import Use, pool_use
from tests.unit.storage.groups import EXTENT, GIB, MIB, FakeLvm, catalog, group, thin_pool

POOL = Place("vg0", "pool")
# `dmsetup status vg0-pool-tpool`, recorded in the lab.
STATUS = "12 114/1024 0/58752 - rw no_discard_passdown error_if_no_space - 256 "


def extender_of(
    known: Catalog, use_of: Callable[[str, str], Use | None], limits: Limits | None = None
) -> Extender:
    limits = limits or Limits()
    pools = Pools(known, [POOL], limits)
    return Extender(known, pools.thin, limits, use_of, pools.free_bytes)


async def looked(
    use: Use | None, *, free: int = 10 * GIB, limits: Limits | None = None
) -> tuple[FakeLvm, float]:
    """What was extended by one look at a pool so full, and how full it is noted to be."""
    lvm = FakeLvm(group(free=free, pool=thin_pool(metadata_bytes=8 * MIB)))
    known = await catalog(lvm=lvm)
    await extender_of(known, lambda *_: use, limits).look(POOL)
    return lvm, known.pool("vg0", "pool").data_percent


def test_what_device_mapper_says() -> None:
    assert Use.parse(STATUS) == Use(data=0, metadata=11400 / 1024)
    assert Use.parse(STATUS.replace(" 0/", " 14688/")) == Use(data=25, metadata=11400 / 1024)
    assert Use.parse("Fail") is None
    assert Use.parse("Error") is None


def test_a_host_without_device_mapper(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        pool_use("vg0", "pool", tmp_path / "control")


async def test_a_pool_that_is_not_full_is_only_noted() -> None:
    lvm, noted = await looked(Use(69.9, 69.9))
    assert (lvm.extended, noted) == ([], 69.9)
    lvm, noted = await looked(None)
    assert (lvm.extended, noted) == ([], 0)


@pytest.mark.parametrize(
    ("use", "extended"),
    [
        (Use(70, 0), [("data", 2 * GIB)]),
        (Use(0, 70), [("metadata", EXTENT)]),
        (Use(99, 80), [("metadata", EXTENT), ("data", 2 * GIB)]),
    ],
)
async def test_what_is_full_is_extended(use: Use, extended: list[tuple[str, int]]) -> None:
    lvm, _ = await looked(use)
    assert lvm.extended == extended


async def test_only_by_what_is_free() -> None:
    lvm, _ = await looked(Use(70, 0), free=3 * EXTENT)
    assert lvm.extended == [("data", 3 * EXTENT)]
    with capture_logs() as logs:
        lvm, _ = await looked(Use(70, 0), free=0)
    assert lvm.extended == []
    assert "add a disk (`vgextend vg0 DISK`)" in logs[-1]["error"]


async def test_copies_that_hang_hold_up_no_look() -> None:
    goes_on = threading.Event()
    copies = [asyncio.create_task(asyncio.to_thread(goes_on.wait, 10)) for _ in range(64)]
    lvm, _ = await asyncio.wait_for(looked(Use(70, 0)), 5)
    goes_on.set()
    await asyncio.gather(*copies)
    assert lvm.extended == [("data", 2 * GIB)]


async def test_a_pool_that_hangs_is_told_and_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extending, "_ANSWER_SECONDS", 0.05)
    goes_on, asked = threading.Event(), []

    def use_of(*pool: str) -> Use | None:
        asked.append(pool)
        goes_on.wait(10)
        return Use(70, 0)

    lvm = FakeLvm(group())
    extender = extender_of(await catalog(lvm=lvm), use_of)
    with capture_logs() as logs:
        await extender.look(POOL)
        await extender.look(POOL)
    assert "see whether the disks" in logs[-1]["error"]
    assert asked == [("vg0", "pool")]
    goes_on.set()
    monkeypatch.setattr(extending, "_ANSWER_SECONDS", 10)
    await extender.look(POOL)
    assert lvm.extended == [("data", 2 * GIB)]


async def test_never_where_that_is_asked_for() -> None:
    lvm, _ = await looked(Use(100, 100), limits=Limits(extend_at=100))
    assert lvm.extended == []


async def test_one_that_cannot_be_extended_is_left_alone_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lvm = FakeLvm(group())
    extender = extender_of(await catalog(lvm=lvm), lambda *_: Use(70, 0))
    lvm.error = OutOfSpace("no")
    with capture_logs() as logs:
        for _ in range(3):
            await extender.look(POOL)
    assert len(logs) == 1
    lvm.error = None
    await extender.look(POOL)
    assert lvm.extended == []
    monkeypatch.setattr(extending, "_RETRY_SECONDS", 0)
    extender = extender_of(await catalog(lvm=lvm), lambda *_: Use(70, 0))
    lvm.error = OutOfSpace("no")
    await extender.look(POOL)
    lvm.error = None
    await extender.look(POOL)
    assert lvm.extended == [("data", 2 * GIB)]


class BusyLvm(FakeLvm):
    """Notes how many reports came before each extension."""

    def __init__(self, *reports: VolumeGroup) -> None:
        super().__init__(*reports)
        self.reports = 0
        self.before: list[int] = []

    async def report(self) -> VolumeGroup:
        self.reports += 1
        return await super().report()

    async def extend_pool(self, pool: str, by_bytes: int) -> None:
        self.before.append(self.reports)
        await super().extend_pool(pool, by_bytes)


async def test_no_report_is_waited_for_where_extents_are_known_to_be_free() -> None:
    lvm = BusyLvm(group())
    await extender_of(await catalog(lvm=lvm), lambda *_: Use(70, 0)).look(POOL)
    assert lvm.before == [1]
    lvm = BusyLvm(group(free=0), group())
    await extender_of(await catalog(lvm=lvm), lambda *_: Use(70, 0)).look(POOL)
    assert (lvm.before, lvm.extended) == ([2], [("data", 2 * GIB)]), "a disk was added"


async def test_the_pause_after_a_failure_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extending, "_RETRY_SECONDS", 5)
    extender = extender_of(await catalog(lvm=FakeLvm(group(free=0))), lambda *_: Use(70, 0))
    pauses = []
    for _ in range(5):
        extender._left_alone.clear()
        await extender.look(POOL)
        pauses.append(extender._pauses[POOL])
    assert pauses == [5, 10, 20, 40, 60]


async def test_what_calls_are_promised_is_left_to_them() -> None:
    lvm = FakeLvm(group(free=3 * EXTENT))
    known = await catalog(lvm=lvm)
    thick = Place("vg0", "")
    pools = Pools(known, [POOL, thick], Limits())
    extender = Extender(known, [POOL], Limits(), lambda *_: Use(70, 0), pools.free_bytes)
    with pools.room(thick, "a", 2 * EXTENT - 1):
        await extender.look(POOL)
    assert lvm.extended == [("data", EXTENT)]
