"""lvm's answers, read; recorded in the lab."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from csi_lvm_iscsi.commands.runner import CommandFailed, Completed, Where
from csi_lvm_iscsi.model.errors import DriverError, OutOfSpace, Unavailable
from csi_lvm_iscsi.storage import lvm as storage_lvm
from csi_lvm_iscsi.storage.catalog import Catalog
from csi_lvm_iscsi.storage.lvm import Lvm
from csi_lvm_iscsi.storage.pools import Place, check_places

TRANSCRIPT = json.loads((Path(__file__).parent / "transcripts/delete.json").read_text())
REPORT = TRANSCRIPT["undisturbed"]["actions"][0]["stdout"]
FULL = """\
  WARNING: Thin pool vg0/pool is out of data space.
  Cannot create new thin volume, free space in thin pool vg0/pool reached threshold.
"""
EXISTS = '  Logical Volume "a" already exists in volume group "vg0"\n'
IN_USE = "  Logical volume vg0/a in use.\n"
NOT_FOUND = '  Failed to find logical volume "vg0/a"\n'


class Answer:
    """A runner that has one answer."""

    def __init__(self, code: int, stdout: str, stderr: str) -> None:
        self.answer = (code, stdout, stderr)
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
        completed = Completed(argv, *self.answer)
        return completed.expected(expect)


def lvm(code: int, stdout: str = "", stderr: str = "") -> Lvm:
    return Lvm(Answer(code, stdout, stderr), "vg0")


async def catalog(report: str = REPORT) -> Catalog:
    made = Catalog("storage-1", [lvm(0, report)])
    await made.refresh()
    return made


async def test_the_report_has_the_pool_and_the_volumes() -> None:
    group = await lvm(0, REPORT).report()
    assert group.extent_bytes == 4 << 20
    assert group.physical_volumes == ("/dev/ubdb",)
    pool = group.pools["pool"]
    assert pool.zeroes
    assert pool.fails_when_full
    assert 0 <= pool.data_percent <= 100
    (volume,) = group.logical_volumes.values()
    assert volume.thin_pool == "pool"
    assert "csi-lvm-iscsi:name=pvc-crash" in volume.tags


async def test_a_missing_pool_is_told_with_the_command_that_makes_it() -> None:
    with pytest.raises(DriverError, match="lvcreate --type thin-pool --zero y"):
        check_places(await catalog(), [Place("vg0", "other")])


async def test_a_pool_that_does_not_zero_is_refused() -> None:
    text = REPORT.replace('"zero":"zero"', '"zero":""')
    with pytest.raises(DriverError, match="lvchange --zero y vg0/pool"):
        check_places(await catalog(text), [Place("vg0", "pool")])


async def test_a_pool_that_holds_writes_back_when_full_is_refused() -> None:
    text = REPORT.replace('"lv_when_full":"error"', '"lv_when_full":"queue"')
    with pytest.raises(DriverError, match="lvchange --errorwhenfull y vg0/pool"):
        check_places(await catalog(text), [Place("vg0", "pool")])


async def test_a_missing_volume_group_is_told_with_lvms_words() -> None:
    said = '  Volume group "vg0" not found\n  Cannot process volume group vg0\n'
    with pytest.raises(DriverError, match=r"Cannot process volume group vg0\. Look at"):
        await lvm(5, stderr=said).report()


async def test_a_full_pool_is_out_of_space_with_what_to_do() -> None:
    with pytest.raises(OutOfSpace, match="lvextend"):
        await lvm(5, stderr=FULL).create_thin("pool", "a", 4 << 20, [])


async def test_what_lvm_says_of_a_volume() -> None:
    assert not await lvm(5, stderr=EXISTS).create_thin("pool", "a", 4 << 20, [])
    assert not await lvm(5, stderr=IN_USE).remove("a")
    assert await lvm(5, stderr=NOT_FOUND).remove("a")
    with pytest.raises(CommandFailed):
        await lvm(5, stderr="  something else\n").remove("a")


@pytest.mark.parametrize("ours", [False, True])
async def test_disks_of_other_hosts_are_not_looked_at(tmp_path: Path, *, ours: bool) -> None:
    block = tmp_path / "block"
    for name, attribute, value in (
        ("sda", "device/vendor", "ATA     "),
        ("sdb", "device/vendor", "CSILVM  " if ours else "QEMU    "),
        ("dm-0", "dm/uuid", "LVM-abc"),
        ("dm-1", "dm/uuid", "CSILVM-00112233445566aa-0123abcd-a" if ours else "mpath-1"),
    ):
        (block / name / attribute).parent.mkdir(parents=True)
        (block / name / attribute).write_text(f"{value}\n")
    (block / "sdc").mkdir()  # it goes just now
    answer = Answer(0, REPORT, "")
    await Lvm(answer, "vg0", tmp_path).report()
    ((*_, config),) = [argv[: argv.index("--configreport")] for argv in answer.asked]
    rejected = ' devices/filter=["r|^/dev/sdb[0-9]*$|", "r|^/dev/dm-1$|"]'
    assert config == "devices/scan_lvs=0" + (rejected if ours else "")


async def test_a_change_waits_for_its_turn_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_lvm, "_TURN_SECONDS", 0.05)
    hangs = lvm(0)
    async with hangs._turn():
        with pytest.raises(Unavailable, match="Other changes of volume group vg0"):
            await hangs.activate("a")
    await hangs.activate("a")


UNSENT = "  device-mapper: reload ioctl on  (254:7) failed: No data available\n"


async def test_what_a_power_cut_left_half_made_is_made_active() -> None:
    """As recorded in the lab: the next lvcreate in the pool, or lvremove, sends its message."""

    class Host(Answer):
        verbs: ClassVar[list[str]] = []

        async def run(self, *argv: str, **options: Any) -> Completed:  # noqa: ANN401
            verb = argv[argv.index("lvm") + 1] if "lvm" in argv else argv[0]
            self.verbs.append(verb)
            sent = "lvcreate" in self.verbs
            self.answer = (0, "", "") if sent else (5, "", UNSENT)
            return await super().run(*argv, **options)

    await Lvm(Host(0, "", ""), "vg0").activate("a", "pool")
    assert Host.verbs == ["lvchange", "lvcreate", "lvremove", "lvchange"]
    with pytest.raises(CommandFailed, match="No data available"):
        await lvm(5, stderr=UNSENT).activate("thick")


async def test_a_change_after_vgextend_knows_the_new_disk() -> None:
    added = REPORT.replace(
        '{"pv_name":"/dev/ubdb"', '{"pv_name":"/dev/ubdc"}, {"pv_name":"/dev/ubdb"'
    )
    assert added != REPORT

    class Host(Answer):
        changes: ClassVar[list[int]] = []

        async def run(self, *argv: str, **options: Any) -> Completed:  # noqa: ANN401
            self.answer = (0, added if self.changes else REPORT, "")
            if "lvchange" in argv:
                self.changes.append(argv.count("--devices"))
                if argv.count("--devices") == 1:
                    self.answer = (5, "", '  Volume group "vg0" not found\n')
            return await super().run(*argv, **options)

    known = Lvm(Host(0, "", ""), "vg0")
    await known.report()
    await known.activate("a")
    assert Host.changes == [1, 2]


async def test_a_volume_group_that_is_gone_is_tried_once() -> None:
    gone = lvm(5, stderr='  Volume group "vg0" not found\n')
    with pytest.raises(DriverError, match="cannot be read"):
        await gone.activate("a")
