"""File systems on disks, over what was recorded in the lab."""

import os
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from csi_lvm_iscsi.initiator.devices import Devices
from csi_lvm_iscsi.initiator.sessions import Sessions
from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.model.access import Capability
from csi_lvm_iscsi.model.errors import AlreadyExists, DriverError, FailedPrecondition, OutOfRange
from csi_lvm_iscsi.model.publications import LUN
from csi_lvm_iscsi.node.ext4 import Ext4
from csi_lvm_iscsi.node.filesystems import FileSystems
from csi_lvm_iscsi.node.mounts import Mounts
from csi_lvm_iscsi.node.staged import Staged
from csi_lvm_iscsi.node.xfs import Xfs
from tests.unit.node import record
from tests.unit.node.host import Host, Killed, published
from tests.unit.node.record import EXT4, READER, SIZE, VOLUME, XFS

EXT4_READER = replace(EXT4, access_mode=READER)
XFS_READER = replace(XFS, access_mode=READER)
SERIAL = names.serial(VOLUME)


def programs(host: Host) -> list[str]:
    return [argv[0] for argv in host.commands if argv[0] != "iscsiadm"]


async def stage(host: Host, capability: Capability, *, read_only: bool = False) -> None:
    async with host.running():
        await host.flows().staging.stage(
            replace(published(), read_only=read_only), host.staging, capability
        )


async def test_xfs_is_made_once_where_the_disk_is_blank(tmp_path: Path) -> None:
    host = Host(tmp_path, "xfs-blank", "xfs-blank")
    await stage(host, XFS)
    assert programs(host) == ["blkid", "mkfs.xfs", "mount"]
    host.commands.clear()
    await stage(host, XFS)
    assert not host.commands


class UnreadableHost(Host):
    """While blkid looks at the disk, its I/O begins to fail."""

    def act(self, action: tuple[str, ...]) -> None:
        super().act(action)
        if action[0] == "blkid":
            self.disk.unlink()
            self.disk.symlink_to("/proc/self/mem")  # reading there fails


async def test_a_disk_that_blkid_could_not_read_is_not_formatted(tmp_path: Path) -> None:
    host = UnreadableHost(tmp_path, "xfs-blank", "xfs-blank")
    with pytest.raises(DriverError, match="cannot be read"):
        await stage(host, XFS)
    assert programs(host) == ["blkid"]


class WatchingHost(Host):
    """Sees whether the role has the disk open when mkfs and mount start."""

    held: tuple[str, ...] = ()

    def act(self, action: tuple[str, ...]) -> None:
        super().act(action)
        opened = [
            path.readlink() for path in Path("/proc/self/fd").iterdir() if os.path.lexists(path)
        ]
        if self.disk in opened:
            self.held = (*self.held, action[0])


async def test_the_name_of_a_disk_is_held_until_it_is_mounted(tmp_path: Path) -> None:
    host = WatchingHost(tmp_path, "xfs-blank", "xfs-blank")
    await stage(host, XFS)
    assert host.held == ("blkid", "mkfs.xfs", "mount")


async def test_a_name_that_another_disk_got_is_not_formatted(tmp_path: Path) -> None:
    host = Host(tmp_path, "xfs-blank", "xfs-blank")
    host.begin_session()
    host.add_disk()
    devices = Devices(host.paths.sys, host.paths.dev)
    (session,) = Sessions(host, host.paths.sys).ours()
    device = devices.find(session, LUN)
    assert device is not None
    host.swap_disk()
    await devices.refresh(device)
    file_systems = FileSystems(host, devices, Mounts(host, host.paths.mountinfo))
    with pytest.raises(FailedPrecondition, match="another disk"):
        await file_systems.mount(
            device, Staged.begin(published(), host.staging, XFS, "a boot"), "xfs"
        )
    assert not host.commands


async def test_xfs_is_kept(tmp_path: Path) -> None:
    host = Host(tmp_path, "xfs", "xfs")
    await stage(host, XFS)
    assert programs(host) == ["blkid", "mount"]


async def test_xfs_that_a_killed_mkfs_left_is_made_again(tmp_path: Path) -> None:
    host = Host(tmp_path, "xfs-half-made", "xfs-half-made")
    await stage(host, XFS)
    assert programs(host) == ["mkfs.xfs", "mount"]


@pytest.mark.parametrize(("offset", "byte"), [(126, 0), (40, 0xFF)], ids=["whole", "another's"])
async def test_xfs_that_may_be_somebodys_data_is_never_made_again(
    tmp_path: Path, offset: int, byte: int
) -> None:
    """The mark of a mkfs in progress counts together with the UUID of this very volume."""
    host = Host(tmp_path, "xfs-half-made", "xfs")
    head = bytearray.fromhex(host.captured["found"])
    head[offset] = byte
    host.captured["found"] = head.hex()
    await stage(host, XFS)
    assert programs(host) == ["blkid", "mount"]


@pytest.mark.parametrize("commands", range(5))
async def test_a_stage_of_xfs_goes_on_where_it_was_killed(tmp_path: Path, commands: int) -> None:
    undisturbed = Host(tmp_path / "undisturbed", "xfs-blank", "xfs-blank")
    await stage(undisturbed, XFS)
    host = Host(tmp_path / "host", "xfs-blank", "xfs-blank")
    host.die_after = commands
    with pytest.raises(Killed):
        await stage(host, XFS)
    host.die_after = None
    await stage(host, XFS)
    expected = undisturbed.state()
    expected["records"] = [r.replace("undisturbed", "host") for r in expected["records"]]
    assert host.state() == expected


async def test_a_volume_too_small_for_xfs_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    host = Host(tmp_path, "xfs-blank", "xfs-blank")
    host.captured["size"] = f"{(256 << 20) // 512}\n"
    small = replace(published(), size_bytes=256 << 20)
    async with host.running():
        with pytest.raises(OutOfRange, match="256 MiB, and xfs needs at least 300 MiB"):
            await host.flows().staging.stage(small, host.staging, XFS)
    assert programs(host) == ["blkid"]
    assert host.state()["sessions"] == []


@pytest.mark.parametrize(
    ("name", "capability", "options"),
    [
        ("ext4-read-only", EXT4_READER, "ro,noload"),
        ("xfs-read-only", XFS_READER, "nouuid,ro,norecovery"),
    ],
)
async def test_read_only_writes_nothing(
    tmp_path: Path, name: str, capability: Capability, options: str
) -> None:
    host = Host(tmp_path, name, name)
    await stage(host, capability)
    assert programs(host) == ["blkid", "mount"]
    assert options in host.commands[-1]


async def test_a_read_only_target_is_read_only_whatever_the_access_mode(tmp_path: Path) -> None:
    host = Host(tmp_path, "ext4-read-only", "ext4-read-only")
    await stage(host, EXT4, read_only=True)
    assert "ro,noload" in host.commands[-1]
    with pytest.raises(AlreadyExists, match="as ext4, read-only"):
        await stage(host, EXT4)


async def test_nothing_is_made_on_a_blank_disk_that_is_read_only(tmp_path: Path) -> None:
    host = Host(tmp_path, "blank", "blank")
    with pytest.raises(FailedPrecondition, match="holds no file system, and is read-only"):
        await stage(host, EXT4_READER)
    assert programs(host) == ["blkid"]


async def test_every_bind_of_a_read_only_file_system_is_read_only(tmp_path: Path) -> None:
    host = Host(tmp_path, "ext4-read-only", "ext4-read-only")
    await stage(host, EXT4_READER)
    for _ in range(2):
        await host.flows().bind_mounts.publish(
            published(), host.staging, host.target, EXT4_READER, read_only=False
        )
    assert host.commands[-1] == (
        *("mount", "--no-mtab", "--bind", "--options", "ro"),
        *(str(host.staging), str(host.target)),
    )


async def test_staged_writable_is_not_published_to_readers(tmp_path: Path) -> None:
    host = Host(tmp_path, "ext4", "ext4")
    await stage(host, EXT4)
    with pytest.raises(FailedPrecondition, match="staged as ext4, not as ext4, read-only"):
        await host.flows().bind_mounts.publish(
            published(), host.staging, host.target, EXT4_READER, read_only=False
        )


@pytest.mark.parametrize(
    ("name", "capability", "said"),
    [
        ("ext4", EXT4, r"ext4 itself is sound. Correct the mount options .*\(nonsense\)"),
        ("xfs", XFS, r"finds nothing wrong with it. Correct the mount options .*\(nonsense\)"),
    ],
)
async def test_a_mount_option_that_is_refused(
    tmp_path: Path, name: str, capability: Capability, said: str
) -> None:
    host = Host(tmp_path, f"{name}-read-only", f"{name}-bad-option")
    with pytest.raises(FailedPrecondition, match=said):
        await stage(host, replace(capability, mount_flags=("nonsense",)))
    assert host.state()["sessions"] == []


@pytest.mark.parametrize(("name", "kind"), [("ext4", EXT4), ("xfs", XFS)])
async def test_a_volume_that_grew_while_it_was_detached_is_grown_at_stage(
    tmp_path: Path, name: str, kind: Capability
) -> None:
    host = Host(tmp_path, name, name)
    host.captured["size"] = host.captured["grown_size"]
    await stage(host, kind)
    grow = {"ext4": "resize2fs", "xfs": "xfs_growfs"}[name]
    assert programs(host)[-2:] == ["mount", grow]
    host.commands.clear()
    await stage(host, kind)
    assert not host.commands


@pytest.mark.parametrize(("name", "kind"), [("ext4", EXT4), ("xfs", XFS)])
async def test_a_stage_killed_before_it_grew_grows_when_called_again(
    tmp_path: Path, name: str, kind: Capability
) -> None:
    host = Host(tmp_path, name, name)
    host.captured["size"] = host.captured["grown_size"]
    host.die_after = {"ext4": 5, "xfs": 4}[name]
    with pytest.raises(Killed):
        await stage(host, kind)
    assert host.state()["mounts"] == 1
    host.die_after = None
    await stage(host, kind)
    assert programs(host)[-1] in ("resize2fs", "xfs_growfs")


async def test_a_read_only_one_is_not_grown(tmp_path: Path) -> None:
    host = Host(tmp_path, "ext4-read-only", "ext4-read-only")
    host.captured["size"] = f"{2 * int(host.captured['size'])}\n"
    await stage(host, EXT4_READER)
    assert programs(host) == ["blkid", "mount"]


async def test_the_kernel_is_kept_from_write_same(tmp_path: Path) -> None:
    host = Host(tmp_path, "block", "block")
    await stage(host, record.BLOCK)
    assert host.write_same.read_text() == "0"


@pytest.mark.parametrize(("name", "kind"), [("blank", Ext4), ("xfs-blank", Xfs)])
def test_the_size_of_what_mkfs_made(tmp_path: Path, name: str, kind: type[Ext4 | Xfs]) -> None:
    host = Host(tmp_path, name)
    head = bytes.fromhex(host.captured["made"]).ljust(4096, b"\0")
    assert kind(host).size(head) == SIZE
    assert kind(host).size(bytes(4096)) == 0
    assert not kind(host).is_half_made(head, SERIAL)


def test_ext4_of_more_than_four_billion_blocks(tmp_path: Path) -> None:
    host = Host(tmp_path, "blank")
    head = bytearray.fromhex(host.captured["made"])
    struct.pack_into("<I", head, 1024 + 0x150, 1)  # s_blocks_count_hi
    assert Ext4(host).size(bytes(head)) == SIZE + (1024 << 32)
