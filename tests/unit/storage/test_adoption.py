"""What can be adopted, and what becomes of it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from csi_lvm_iscsi.commands.runner import Completed, Where
from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.model.errors import (
    AlreadyExists,
    DriverError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
)
from csi_lvm_iscsi.storage import adoption
from csi_lvm_iscsi.storage.adoption import Adopted, Adoption, manifest
from csi_lvm_iscsi.storage.catalog import Catalog
from csi_lvm_iscsi.storage.devices import Device
from csi_lvm_iscsi.storage.openers import openers
from csi_lvm_iscsi.storage.report import COLUMNS, LogicalVolume, VolumeGroup, parse
from tests.unit.storage.groups import GIB, UUID, FakeLvm, group, snapshot, volume

REPORT = (Path(__file__).parent / "reports/wiping.json").read_text()
CINDER = LogicalVolume("volume-1", GIB, (), "pool")


class Lvm(FakeLvm):
    """lvm that tags: what it reports then has the tags."""

    async def allow_activation(self, name: str) -> None:
        assert name in self._last.logical_volumes

    async def add_tags(self, name: str, tags: Iterable[str]) -> None:
        tagged = replace(self._last.logical_volumes[name], tags=tuple(tags))
        volumes = {**self._last.logical_volumes, name: tagged}
        self._last = replace(self._last, logical_volumes=volumes)


class Blkid:
    """blkid, with one answer."""

    def __init__(self, code: int, stdout: str) -> None:
        self._answer = (code, stdout, "")

    async def run(
        self,
        *argv: str,
        where: Where,
        seconds: float,
        expect: Sequence[int] = (0,),
        kill: bool = True,
    ) -> Completed:
        return Completed(argv, *self._answer).expected(expect)


class Active:
    """The devices of logical volumes, all active."""

    async def ensure(self, volume_group: str, logical_volume: str) -> Device:
        return Device("/dev/null", GIB)


async def adopt(
    within: VolumeGroup, called: str, name: str = "", blkid: Blkid | None = None
) -> Adopted:
    catalog = Catalog("this host", [Lvm(within)])  # type: ignore[list-item]
    await catalog.refresh()
    adopting = Adoption(
        blkid or Blkid(2, ""),
        catalog,
        Active(),  # type: ignore[arg-type]
        Path("/"),
    )
    return await adopting.adopt("vg0", called, name)


@pytest.fixture(autouse=True)
def nobody_has_it_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adoption, "openers", lambda *_: iter(()))


@pytest.mark.parametrize("lv", [CINDER, replace(CINDER, thin_pool="")])
async def test_a_plain_logical_volume_is_adopted_under_its_own_name(lv: LogicalVolume) -> None:
    adopted = await adopt(group(lv), "volume-1", blkid=Blkid(0, "ext4\n"))
    assert adopted.volume.id == names.volume_id(UUID, "volume-1")
    assert adopted.volume.logical_volume == "volume-1"
    assert manifest(adopted, storage_class="", block=False) == {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": "volume-1"},
        "spec": {
            "capacity": {"storage": str(GIB)},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "",
            "volumeMode": "Filesystem",
            "csi": {
                "driver": "csi-lvm-iscsi.github.io",
                "volumeHandle": adopted.volume.id,
                "fsType": "ext4",
            },
        },
    }


async def test_raw_block_has_no_file_system_type() -> None:
    adopted = await adopt(group(CINDER), "volume-1", "other", blkid=Blkid(0, "xfs\n"))
    made = manifest(adopted, storage_class="lvm", block=True)
    assert made["metadata"]["name"] == "other"
    assert made["spec"]["volumeMode"] == "Block"
    assert made["spec"]["storageClassName"] == "lvm"
    assert "fsType" not in made["spec"]["csi"]


async def test_again_it_is_told_again_though_it_is_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adoption, "openers", lambda *_: iter(["process 1 (tgtd) has it open"]))
    ours = replace(volume("data"), name="volume-1")
    for name in ("", "data"):
        assert (await adopt(group(ours), "volume-1", name)).volume.name == "data"
    with pytest.raises(AlreadyExists, match="is the volume data already: leave out --name"):
        await adopt(group(ours), "volume-1", "another")


ORIGIN = replace(CINDER, thin_pool="")
REFUSED: list[tuple[VolumeGroup, str, str, type[DriverError], str]] = [
    (group(), "pool", "", FailedPrecondition, "vg0/pool is a thin pool"),
    (group(), "none", "", NotFound, "There is no vg0/none"),
    (group(replace(CINDER, plain=False)), "volume-1", "", FailedPrecondition, "neither thin nor"),
    (group(snapshot("s", CINDER)), "s", "", FailedPrecondition, "a snapshot of this driver's"),
    (
        group(replace(volume("a"), name="wipe-0.a")), "wipe-0.a", "", FailedPrecondition, "deleted"
    ),
    (
        group(ORIGIN, LogicalVolume("s", GIB, (), "", "volume-1", thick_snapshot=True)),
        "s", "", FailedPrecondition, "is nothing without volume-1",
    ),
    (
        group(ORIGIN, LogicalVolume("s", GIB, (), "", "volume-1", thick_snapshot=True)),
        "volume-1", "", FailedPrecondition, "the origin of copy-on-write snapshots",
    ),
    (group(CINDER, volume("a")), "volume-1", "a", AlreadyExists, "is the volume a already"),
    (group(CINDER), "volume-1", "Data_1", InvalidArgument, "'Data_1': give another with --name"),
]  # fmt: skip


@pytest.mark.parametrize(("within", "called", "name", "error", "told"), REFUSED)
async def test_what_is_refused(
    within: VolumeGroup, called: str, name: str, error: type[DriverError], told: str
) -> None:
    with pytest.raises(error, match=told):
        await adopt(within, called, name)


async def test_one_that_is_open_is_refused_naming_who_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(adoption, "openers", lambda *_: iter(["process 7 (tgtd) has it open"]))
    with pytest.raises(FailedPrecondition, match=r"is open: process 7 \(tgtd\) .* Detach it"):
        await adopt(group(CINDER), "volume-1")


def test_who_has_a_device_open(tmp_path: Path) -> None:
    """A device of the character kind stands in: tests make no block devices."""
    device = Path("/dev/null")
    shown = f"{os.major(device.stat().st_rdev)}:{os.minor(device.stat().st_rdev)}"
    (tmp_path / f"sys/dev/block/{shown}/holders/dm-7").mkdir(parents=True)
    process = tmp_path / "proc/12"
    (process / "fd").mkdir(parents=True)
    (process / "mountinfo").write_text(f"27 1 {shown} / /data rw - ext4 /dev/x rw\n")
    assert list(openers(device, tmp_path)) == [
        "device dm-7 is made of it",
        "it is mounted on /data",
    ]


def test_a_report_as_lvm_makes_it() -> None:
    """A deleted thick volume whose snapshot is still there; recorded in the lab."""
    within = parse(REPORT, "vg0")
    assert {column for _, columns in COLUMNS for column in columns.split(",")} == {
        key for rows in json.loads(REPORT)["report"][0].values() for key in rows[0]
    }
    store, origin = sorted(within.logical_volumes.values(), key=lambda lv: lv.name)
    assert store.thick_snapshot
    assert store.origin == origin.name
    assert (store.plain, origin.plain) == (True, True)
    assert within.pools["pool"].metadata_bytes == 4 << 20
