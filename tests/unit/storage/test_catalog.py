"""The copy of LVM's report: kept true by what the role does itself."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest

from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.model.errors import NotFound, Unavailable
from csi_lvm_iscsi.storage.catalog import Catalog
from csi_lvm_iscsi.storage.report import LogicalVolume, VolumeGroup
from csi_lvm_iscsi.storage.stored import volume_tags

UUID = "XAcVys-jmzE-nxh3-m62v-KFVw-kR9X-7kJzx3"
GIB = 1 << 30


def volume(name: str, size: int = GIB, **fields: object) -> LogicalVolume:
    made = LogicalVolume(names.volume_id(UUID, name), size, tuple(volume_tags(name, {})))
    return replace(made, **fields)  # type: ignore[arg-type]


def group(*logical_volumes: LogicalVolume) -> VolumeGroup:
    taken = sum(each.size_bytes for each in logical_volumes if not each.thin_pool)
    by_name = {each.name: each for each in logical_volumes}
    return VolumeGroup("vg0", UUID, 4 << 20, 10 * GIB, 10 * GIB - taken, (), {}, by_name)


class Reports:
    """lvm on a volume group, answering with these reports."""

    volume_group = "vg0"

    def __init__(self, reports: Iterator[VolumeGroup]) -> None:
        self._reports = reports

    async def report(self) -> VolumeGroup:
        return next(self._reports)


def catalog(*reports: VolumeGroup) -> Catalog:
    return Catalog("storage-1", [Reports(iter(reports))])  # type: ignore[list-item]


async def test_nothing_is_known_before_the_first_report() -> None:
    with pytest.raises(Unavailable, match="still reading"):
        catalog().group("vg0")
    with pytest.raises(NotFound, match="serves no volume group vg1"):
        catalog().group("vg1")


async def test_a_volume_made_changed_renamed_and_gone() -> None:
    known = catalog(group())
    await known.refresh()
    made = volume("a")
    known.put("vg0", made)
    volume_id = names.volume_id(UUID, "a")
    assert known.volume(volume_id).size_bytes == GIB
    assert known.group("vg0").free_bytes == 9 * GIB
    known.put("vg0", replace(made, size_bytes=2 * GIB))
    assert known.group("vg0").free_bytes == 8 * GIB
    known.rename("vg0", made.name, "wipe-0.a")
    assert known.volumes() == []
    assert [each.name for _, each in known.waste()] == ["wipe-0.a"]
    assert known.group("vg0").free_bytes == 8 * GIB
    known.drop("vg0", "wipe-0.a")
    assert known.waste() == []
    assert known.group("vg0").free_bytes == 10 * GIB


async def test_a_thin_volume_takes_nothing_of_the_group() -> None:
    known = catalog(group())
    await known.refresh()
    known.put("vg0", volume("a", thin_pool="pool"))
    assert known.group("vg0").free_bytes == 10 * GIB


async def test_thick_snapshots_go_with_their_origin_under_its_new_name() -> None:
    origin = volume("a")
    store = LogicalVolume("s", GIB, ("csi-lvm-iscsi:snapshot=s",), "", origin.name, True)  # noqa: FBT003
    known = catalog(group(origin))
    await known.refresh()
    known.put("vg0", replace(store, tags=()))
    known.rename("vg0", origin.name, "wipe-0.a")
    assert [each.name for each in known.thick_snapshots_of("vg0", "wipe-0.a")] == ["s"]


async def test_what_was_changed_during_a_report_stays() -> None:
    known = catalog()

    def reports() -> Iterator[VolumeGroup]:
        yield group()
        known.put("vg0", volume("a"))  # while lvm was reading
        yield group()

    known._lvms["vg0"] = Reports(reports())  # type: ignore[assignment]
    await known.refresh()
    assert known.volumes() == []
    await known.refresh()
    assert [each.name for each in known.volumes()] == ["a"]


async def test_all_who_look_at_once_find_what_was_adopted() -> None:
    class SlowReports(Reports):
        async def report(self) -> VolumeGroup:
            await asyncio.sleep(0)
            return next(self._reports)

    known = Catalog("storage-1", [SlowReports(iter([group(), group(volume("a"))]))])  # type: ignore[list-item]
    await known.refresh()
    volume_id = names.volume_id(UUID, "a")

    async def found() -> str:
        await known.look_for(volume_id)
        return known.volume(volume_id).id

    assert set(await asyncio.gather(found(), found())) == {volume_id}


async def test_an_id_that_is_unknown_is_looked_for_now_and_then() -> None:
    known = catalog(group(), group())
    await known.refresh()
    for _ in range(3):
        await known.look_for("x")  # a third report would be none
