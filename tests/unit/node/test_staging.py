"""NodeStageVolume and NodeUnstageVolume, over what was recorded in the lab."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from csi_lvm_iscsi.model import chap, names
from csi_lvm_iscsi.model.access import Capability
from csi_lvm_iscsi.model.errors import AlreadyExists, Busy, FailedPrecondition, NotFound
from tests.unit.node import record
from tests.unit.node.host import Host, Killed, published
from tests.unit.node.record import BLOCK, EXT4, OTHER_NONCE, VOLUME

NOTHING = {"sessions": [], "disk": False, "mounts": 0, "targets": [], "records": []}


def programs(host: Host) -> list[str]:
    return [argv[0] for argv in host.commands]


async def stage(host: Host, capability: Capability, nonce: str = record.NONCE) -> None:
    async with host.running():
        await host.flows().staging.stage(published(nonce), host.staging, capability)


async def unstage(host: Host) -> None:
    async with host.running():
        await host.flows().staging.unstage(VOLUME, host.staging)


async def test_raw_block_takes_two_iscsiadm_each_way(tmp_path: Path) -> None:
    host = Host(tmp_path, "block", "block")
    await stage(host, BLOCK)
    assert programs(host) == ["iscsiadm"] * 2
    await stage(host, BLOCK)
    assert programs(host) == ["iscsiadm"] * 2
    host.commands.clear()
    await unstage(host)
    assert programs(host) == ["iscsiadm"] * 2
    assert host.state() == NOTHING
    await unstage(host)
    assert programs(host) == ["iscsiadm"] * 2


async def test_the_password_is_in_the_record_alone(tmp_path: Path) -> None:
    host = Host(tmp_path, "block", "block")
    await stage(host, BLOCK)
    password = chap.password(record.KEY, VOLUME, record.NODE, record.NONCE)
    (path,) = (host.paths.iscsi / "nodes" / names.target_iqn(VOLUME)).iterdir()
    assert path.read_text().count(f"node.session.auth.password = {password}\n") == 1
    assert path.stat().st_mode & 0o777 == 0o600
    assert password not in str(host.commands)
    assert password not in str(host.state()["records"])


async def test_a_blank_disk_is_formatted_once(tmp_path: Path) -> None:
    host = Host(tmp_path, "blank", "blank")
    await stage(host, EXT4)
    assert programs(host)[2:] == ["blkid", "mkfs.ext4", "mount"]
    host.commands.clear()
    await stage(host, EXT4)
    assert not host.commands


class LateHost(Host):
    """Its kernel shows a new disk in sysfs a moment before it can be opened."""

    def add_disk(self) -> None:
        super().add_disk()
        self.disk.unlink()
        asyncio.get_running_loop().call_later(0.05, self.disk.write_bytes, bytes(4096))


async def test_a_new_disk_is_not_used_before_it_can_be_opened(tmp_path: Path) -> None:
    host = LateHost(tmp_path, "blank", "blank")
    await stage(host, EXT4)
    assert programs(host)[2:] == ["blkid", "mkfs.ext4", "mount"]


async def test_a_file_system_is_checked_and_kept(tmp_path: Path) -> None:
    host = Host(tmp_path, "ext4", "ext4")
    await stage(host, EXT4)
    assert programs(host)[2:] == ["blkid", "e2fsck", "mount"]


@pytest.mark.parametrize("commands", range(5))
async def test_stage_goes_on_where_it_was_killed(tmp_path: Path, commands: int) -> None:
    undisturbed = Host(tmp_path / "undisturbed", "blank", "blank")
    await stage(undisturbed, EXT4)
    host = Host(tmp_path / "host", "blank", "blank")
    host.die_after = commands
    with pytest.raises(Killed):
        await stage(host, EXT4)
    host.die_after = None
    await stage(host, EXT4)
    expected = undisturbed.state()
    expected["records"] = [r.replace("undisturbed", "host") for r in expected["records"]]
    assert host.state() == expected


@pytest.mark.parametrize("commands", range(5))
async def test_unstage_takes_away_half_a_stage(tmp_path: Path, commands: int) -> None:
    host = Host(tmp_path, "blank", "blank")
    host.die_after = commands
    with pytest.raises(Killed):
        await stage(host, EXT4)
    host.die_after = None
    await unstage(host)
    assert host.state() == NOTHING


@pytest.mark.parametrize("commands", range(3))
async def test_unstage_goes_on_where_it_was_killed(tmp_path: Path, commands: int) -> None:
    host = Host(tmp_path, "ext4", "ext4")
    await stage(host, EXT4)
    host.die_after = len(host.commands) + commands
    with pytest.raises(Killed):
        await unstage(host)
    host.die_after = None
    await unstage(host)
    assert host.state() == NOTHING


async def test_a_refused_login_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    host = Host(tmp_path, "block", "refused")
    with pytest.raises(FailedPrecondition, match=r"refused this node.*exit code 24.*authorization"):
        await stage(host, BLOCK)
    assert host.state() == NOTHING


async def test_a_disk_with_a_signature_is_not_formatted(tmp_path: Path) -> None:
    host = Host(tmp_path, "ext4", "ext4", "signature")
    with pytest.raises(FailedPrecondition, match="holds swap"):
        await stage(host, EXT4)
    assert programs(host) == ["iscsiadm", "iscsiadm", "blkid", "iscsiadm", "iscsiadm"]
    assert host.state() == NOTHING


@pytest.mark.parametrize(
    ("attribute", "value", "said"),
    [("vpd_pg80", b"another".hex().rjust(22, "0"), "serial number"), ("size", "8\n", "4 KiB")],
)
async def test_another_disk_is_not_touched(
    tmp_path: Path, attribute: str, value: str, said: str
) -> None:
    host = Host(tmp_path, "blank", "blank")
    host.captured[attribute] = value
    with pytest.raises(FailedPrecondition, match=said):
        await stage(host, EXT4)
    assert set(programs(host)) == {"iscsiadm"}
    assert host.state() == NOTHING


async def test_what_an_earlier_publication_left_is_dropped_unwritten(tmp_path: Path) -> None:
    host = Host(tmp_path, "ext4", "ext4", "stale")
    await stage(host, EXT4)
    host.add_mount(host.target)
    host.commands.clear()
    host.user = chap.user(VOLUME, OTHER_NONCE)
    await stage(host, EXT4, OTHER_NONCE)
    assert programs(host) == [
        *("iscsiadm", "umount", "umount"),
        *("iscsiadm", "iscsiadm", "blkid", "e2fsck", "mount"),
    ]
    assert "--logout" in host.commands[0]
    assert host.state()["mounts"] == 1
    (text,) = host.state()["records"]
    assert OTHER_NONCE in text


async def test_mounts_of_a_disk_that_is_gone_are_detached(tmp_path: Path) -> None:
    host = Host(tmp_path, "ext4", "ext4", "stale")
    await stage(host, EXT4)
    host.add_mount(host.target)
    host.end_session()
    host.user = chap.user(VOLUME, OTHER_NONCE)
    await stage(host, EXT4, OTHER_NONCE)
    assert host.state()["mounts"] == 1


async def test_a_record_of_an_earlier_boot_unmounts_nothing(tmp_path: Path) -> None:
    host = Host(tmp_path, "ext4", "ext4", "stale")
    await stage(host, EXT4)
    host.end_session()
    host.paths.boot_id.write_text("another boot\n")
    host.commands.clear()
    host.add_mount(host.target)
    await stage(host, EXT4)
    assert ("umount", "--lazy", str(host.target)) not in host.commands


async def test_a_second_call_meanwhile_is_refused(tmp_path: Path) -> None:
    host = Host(tmp_path, "block", "block")
    flows = host.flows()
    async with host.running():
        answers = await asyncio.gather(
            *(flows.staging.stage(published(), host.staging, BLOCK) for _ in range(2)),
            flows.staging.unstage(VOLUME, host.staging),
            return_exceptions=True,
        )
    assert [type(answer) for answer in answers] == [type(None), Busy, Busy]


async def test_staged_otherwise_is_refused(tmp_path: Path) -> None:
    host = Host(tmp_path, "ext4", "ext4")
    await stage(host, EXT4)
    with pytest.raises(AlreadyExists, match="as ext4"):
        await stage(host, BLOCK)
    assert host.state()["mounts"] == 1


async def test_what_is_published_is_not_unstaged(tmp_path: Path) -> None:
    host = Host(tmp_path, "ext4", "ext4")
    await stage(host, EXT4)
    host.add_mount(host.target)
    with pytest.raises(FailedPrecondition, match="NodeUnpublishVolume"):
        await unstage(host)
    assert host.state()["mounts"] == 2


async def test_ids_that_are_not_ours(tmp_path: Path) -> None:
    host = Host(tmp_path, "block")
    staging = host.flows().staging
    with pytest.raises(NotFound):
        await staging.stage(replace(published(), volume_id="../x"), host.staging, BLOCK)
    await staging.unstage("../x", host.staging)


async def test_a_disk_is_asked_anew_unless_it_was_just_scanned(tmp_path: Path) -> None:
    host = Host(tmp_path, "ext4", "ext4")
    await stage(host, EXT4)
    assert (host.scsi / "rescan").read_text() == ""
    await stage(host, EXT4)
    assert (host.scsi / "rescan").read_text() == "1"


async def test_another_disk_behind_the_same_session_gets_no_cached_writes(tmp_path: Path) -> None:
    host = Host(tmp_path, "block", "block")
    await stage(host, BLOCK)
    host.swap_disk()
    with pytest.raises(FailedPrecondition, match="serial number"):
        await stage(host, BLOCK)
    assert host.removed == ["offline"]


async def test_a_record_holds_what_is_read_and_no_more(tmp_path: Path) -> None:
    host = Host(tmp_path, "ext4", "ext4")
    await stage(host, EXT4)
    (text,) = host.state()["records"]
    assert set(json.loads(text)) == {
        *("publication", "boot_id", "staging_path", "file_system", "mount_flags", "read_only"),
        *("device", "number"),
    }


class ShutDownHost(Host):
    """What is mounted on the staging path lost its disk: no directory can be seen there."""

    def act(self, action: tuple[str, ...]) -> None:
        super().act(action)
        if action[:2] == ("umount", "--lazy"):
            self.staging.unlink()


async def test_a_stage_over_a_mount_whose_disk_is_gone(tmp_path: Path) -> None:
    host = ShutDownHost(tmp_path, "ext4", "stale", "ext4")
    host.staging.write_text("")
    with host.paths.mountinfo.open("a") as file:
        file.write(f"90 22 8:240 / {host.staging} rw - xfs /dev/sdz rw,shutdown\n")
    await stage(host, EXT4)
    assert programs(host)[-4:] == ["umount", "blkid", "e2fsck", "mount"]
    assert host.staging.is_dir()


class RefusingHost(Host):
    """The login is refused; then the records cannot be removed either."""

    def act(self, action: tuple[str, ...]) -> None:
        super().act(action)
        if action[-1] == "--login":
            raise FailedPrecondition("refused")
        if action[-1] == "delete":
            raise OSError(5, "Input/output error")


async def test_what_cannot_be_taken_back_does_not_hide_why_the_stage_failed(tmp_path: Path) -> None:
    host = RefusingHost(tmp_path, "block", "block")
    with pytest.raises(FailedPrecondition, match="refused"):
        await stage(host, BLOCK)
