"""Which volumes take discards: thin ones, of pools that take them, where tgtd hands them on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from csi_lvm_iscsi.commands.runner import Completed, Where
from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.model.errors import DriverError
from csi_lvm_iscsi.storage.catalog import Catalog
from csi_lvm_iscsi.storage.devices import Device, Devices
from csi_lvm_iscsi.storage.exports import Exports, is_in_line
from csi_lvm_iscsi.storage.fencing import Fence
from csi_lvm_iscsi.storage.grants import Grant
from csi_lvm_iscsi.storage.portals import Portals
from csi_lvm_iscsi.storage.tgt.socket import Mode, Op
from csi_lvm_iscsi.storage.tgt.target import Tgtd, shown_megabytes
from csi_lvm_iscsi.storage.tgt.version import RunningVersion, parse_version
from tests.unit.storage.groups import MIB, UUID, FakeLvm, group, volume

PATH = "/dev/mapper/vg0-v"
VOLUME_ID = "e1acc56c-pvc-1"
GRANT = Grant("compute-1", "0123456789abcdef", "k1", read_only=False, shared=False)


class Says:
    """`tgtd --version` of each life of tgtd, as seen in the lab."""

    def __init__(self, *answers: tuple[int, str, str]) -> None:
        self._answers = list(answers)
        self.asked: list[tuple[str, ...]] = []

    async def run(
        self,
        *argv: str,
        where: Where,
        seconds: float,
        expect: Sequence[int] = (0,),
        kill: bool = True,
    ) -> Completed:
        self.asked.append(argv)
        return Completed(argv, *self._answers.pop(0)).expected(expect)


DEBIANS = (0, "1.0.85\n", "")
NEWER = (0, "1.0.97\n", "")
# What /proc has of a tgtd of the host, and of one in a container.
NSPID = "Name:\ttgtd\nNSpid:\t7\nNSpgid:\t7\n"
NSPID_CONTAINER = "Name:\ttgtd\nNSpid:\t927\t22\nNSpgid:\t927\t21\n"
GONE = (1, "", "nsenter: cannot open /proc/7/ns/mnt: No such file or directory\n")


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    for pid, status in {6: NSPID, 7: NSPID, 927: NSPID_CONTAINER}.items():
        (tmp_path / "proc" / str(pid)).mkdir(parents=True)
        (tmp_path / "proc" / str(pid) / "status").write_text(status)
    return tmp_path / "proc"


@pytest.mark.parametrize(
    ("said", "number"),
    [("1.0.85\n", (1, 0, 85)), ("1.0.97\n", (1, 0, 97)), ("1.0.100", (1, 0, 100))],
)
def test_versions(said: str, number: tuple[int, ...]) -> None:
    assert parse_version(said) == number


def test_what_is_no_version() -> None:
    with pytest.raises(DriverError, match="'usage', which is no version"):
        parse_version("usage\n")


@pytest.mark.parametrize(
    ("said", "discards"),
    [("1.0.85", False), ("1.0.89", False), ("1.0.90", True), ("1.0.100", True), ("1.1.0", True)],
)
async def test_discards_came_with_1_0_90(proc: Path, said: str, *, discards: bool) -> None:
    version = RunningVersion(Says((0, said, "")), proc)
    assert not version.discards()
    await version.ask(7)
    assert version.discards() is discards


async def test_each_life_is_asked_of_its_own_program(proc: Path) -> None:
    says = Says(NEWER, DEBIANS)
    version = RunningVersion(says, proc)
    seen = []
    for pid in (7, 927):
        await version.ask(pid)
        seen.append(version.discards())
    assert seen == [True, False]
    # In a container the process has another id, in its own /proc.
    assert [(argv[1], argv[-2]) for argv in says.asked] == [
        ("--target=7", "/proc/7/exe"),
        ("--target=927", "/proc/22/exe"),
    ]


@pytest.mark.parametrize(
    ("answer", "pid"), [(GONE, 7), ((0, "nonsense", ""), 7), (NEWER, 8)], ids=["1", "2", "ended"]
)
async def test_a_version_that_cannot_be_read_is_an_old_one(
    proc: Path, answer: tuple[int, str, str], pid: int
) -> None:
    version = RunningVersion(Says(NEWER, answer), proc)
    await version.ask(6)
    assert version.discards()
    with capture_logs() as logs:
        await version.ask(pid)
    assert not version.discards()
    assert [entry["event"] for entry in logs] == [
        "version of tgtd unknown: volumes take no discards"
    ]


@pytest.mark.parametrize(
    ("pool", "most", "discards"),
    [("pool", 4294966784, True), ("pool", 0, False), ("", 4294966784, False)],
)
async def test_devices_that_take_discards(
    tmp_path: Path,
    pool: str,
    most: int,
    discards: bool,  # noqa: FBT001
) -> None:
    stored = volume("pvc-1", 8 * MIB, thin_pool=pool)
    catalog = Catalog("this host", [FakeLvm(group(stored))])  # type: ignore[list-item]
    await catalog.refresh()
    shown = names.device_mapper_name("vg0", stored.name)
    kernel = tmp_path / "sys/block/dm-5"
    for directory in (tmp_path / "dev/mapper", kernel / "dm", kernel / "queue"):
        directory.mkdir(parents=True)
    (tmp_path / "dev/dm-5").touch()
    (tmp_path / "dev/mapper" / shown).symlink_to("../dm-5")
    (kernel / "dm/name").write_text(f"{shown}\n")
    (kernel / "dm/uuid").write_text(f"LVM-{UUID.replace('-', '')}{'x' * 32}\n")
    (kernel / "size").write_text("16384\n")
    (kernel / "queue/discard_max_bytes").write_text(f"{most}\n")
    device = await Devices(catalog, tmp_path).of(stored.name)
    assert device == Device(f"/dev/mapper/{shown}", 8 * MIB, discards=discards)


class OneTarget:
    """A tgtd that shows what it was told, as 1.0.85 and 1.0.97 do alike."""

    def __init__(self) -> None:
        self.settings = ""
        self._acl = ""
        self._account = ""
        self._iqn = ""

    async def request(self, mode: Mode, op: Op, parameters: str = "", **numbers: Any) -> str:  # noqa: ANN401
        del numbers
        if (mode, op) == (Mode.TARGET, Op.SHOW):
            return self._shown()
        if (mode, op) == (Mode.TARGET, Op.DELETE):
            self._iqn = ""
        if (mode, op) == (Mode.TARGET, Op.NEW):
            self._iqn = parameters.removeprefix("targetname=")
        if (mode, op) == (Mode.TARGET, Op.BIND):
            self._acl = parameters.removeprefix("initiator-name=")
        if (mode, op) == (Mode.ACCOUNT, Op.BIND):
            self._account = parameters.removeprefix("user=")
        if (mode, op) == (Mode.LOGICAL_UNIT, Op.UPDATE):
            self.settings = parameters
        return ""

    def _shown(self) -> str:
        serial = names.serial(VOLUME_ID)
        thin = "Yes" if "thin_provisioning=1" in self.settings else "No"
        return self._iqn and (
            f"Target 1: {self._iqn}\n    System information:\n        State: ready\n"
            f"    LUN information:\n        LUN: 1\n            SCSI ID: {serial}\n"
            f"            SCSI SN: {serial}\n            Size: {shown_megabytes(8 * MIB)} MB,\n"
            f"            Online: Yes\n            Readonly: No\n"
            f"            Thin-provisioning: {thin}\n            Backing store path: {PATH}\n"
            f"    Account information:\n        {self._account}\n"
            f"    ACL information:\n        {self._acl}\n"
        )


@pytest.mark.parametrize("answer", [DEBIANS, NEWER])
@pytest.mark.parametrize("device", [Device(PATH, 8 * MIB, discards=d) for d in (True, False)])
async def test_the_unit_takes_discards_where_all_do(
    proc: Path, answer: tuple[int, str, str], device: Device
) -> None:
    version = RunningVersion(Says(answer), proc)
    await version.ask(7)
    management = OneTarget()
    tgtd = Tgtd(management, discards=version.discards)
    exports = Exports(tgtd, Fence(tgtd), Portals((), list), {"k1": b"a key for tests"})
    await exports.ensure(VOLUME_ID, [GRANT], device)
    takes = answer is NEWER and device.discards
    assert management.settings.endswith(",thin_provisioning=1") is takes
    assert is_in_line((await exports.targets())[VOLUME_ID], VOLUME_ID, [GRANT], device)


@pytest.mark.parametrize("before", [False, True])
async def test_an_export_in_use_is_left_as_it_is(before: bool) -> None:  # noqa: FBT001
    """Also where the version of its tgtd cannot be read any more."""
    discards = before
    management = OneTarget()
    tgtd = Tgtd(management, discards=lambda: discards)
    exports = Exports(tgtd, Fence(tgtd), Portals((), list), {"k1": b"a key for tests"})
    device = Device(PATH, 8 * MIB, discards=True)
    await exports.ensure(VOLUME_ID, [GRANT], device)
    told = management.settings
    assert ("thin_provisioning=1" in told) is before
    discards = not before
    assert is_in_line((await exports.targets())[VOLUME_ID], VOLUME_ID, [GRANT], device)
    await exports.ensure(VOLUME_ID, [GRANT], device)
    assert management.settings == told
