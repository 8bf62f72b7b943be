"""XFS: made, told from a half-made one, mounted read-only, grown."""

import struct
import uuid
from pathlib import Path

from csi_lvm_iscsi.commands.runner import Runner, Where
from csi_lvm_iscsi.initiator.devices import Device
from csi_lvm_iscsi.model.errors import TookTooLong

_MAKE_SECONDS = 300.0
_DIAGNOSE_SECONDS = 100.0
_GROW_SECONDS = 600.0
_SAID = 300

# Where the kernel's fs/xfs/libxfs/xfs_format.h, struct xfs_dsb, has what is read here.
_MAGIC = slice(0, 4)
_BLOCK_SIZE = 4
_BLOCKS = 8
_UUID = slice(32, 48)
_IN_PROGRESS = 126


class Xfs:
    """XFS; see `FileSystem`."""

    # mkfs.xfs(8) since 5.19, "-d size"; a smaller one's log is too small to be of use.
    minimum_bytes = 300 << 20
    # A clone has the UUID of its origin, and XFS mounts no two with the same one.
    options = ("nouuid",)
    # Without norecovery the kernel would replay the log, which writes.
    read_only_options = ("nouuid", "ro", "norecovery")

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    async def make(self, device: Device, serial: str) -> None:
        """Make XFS.

        mkfs.xfs writes a superblock first, marked as in progress, which Linux refuses to mount;
        and with its last write takes that mark away (mkfs/xfs_mkfs.c, main; seen with strace on
        6.1.0: each write is direct, one after the other). The UUID tells whose mark it is. Blocks
        are not discarded (-K): a fresh volume reads as zeros.
        """
        # -f: mkfs.xfs takes its own half-made one for something of value.
        await self._runner.run(
            *("mkfs.xfs", "-q", "-f", "-K", "-m", f"uuid={_uuid(serial)}", str(device.path)),
            where=Where.HERE,
            seconds=_MAKE_SECONDS,
        )

    async def check(self, device: Device) -> None:
        """Nothing: XFS is checked as it is used, and the mount replays its log."""

    async def diagnose(self, device: Device) -> str:
        """What is wrong with one that cannot be mounted. Not for one that may be sound: without
        its log replayed, xfs_repair would find faults in it."""
        try:
            completed = await self._runner.run(
                *("xfs_repair", "-n", str(device.path)),
                where=Where.HERE,
                seconds=_DIAGNOSE_SECONDS,
                expect=range(256),
            )
        except TookTooLong as error:
            return str(error)
        if completed.code == 0:
            return "`xfs_repair -n` finds nothing wrong with it."
        said = " ".join((completed.stderr + completed.stdout).split())
        return (
            f"`xfs_repair -n` ended with {completed.code} and said: {said[:_SAID]} ... Repair it "
            f"by hand (xfs_repair {device.path}) with the volume attached as raw block."
        )

    async def grow(self, device: Device, mounted: Path) -> None:
        """Grow it to the size of its disk, while it is mounted. A killed one is gone on with."""
        await self._runner.run(
            "xfs_growfs", "-d", str(mounted), where=Where.HERE, seconds=_GROW_SECONDS
        )

    def is_half_made(self, head: bytes, serial: str) -> bool:
        """Whether a mkfs of ours, for this volume, did not come to its end: nobody ever mounted it.

        The UUID is compared too, as xfs_copy and xfs_mdrestore mark what they write in the same
        way, and that may be somebody's data.
        """
        return (
            self.size(head) > 0 and head[_IN_PROGRESS] != 0 and head[_UUID] == _uuid(serial).bytes
        )

    def size(self, head: bytes) -> int:
        """Its size in bytes; 0 where it cannot be read."""
        if head[_MAGIC] != b"XFSB":
            return 0
        (block_size,) = struct.unpack_from(">I", head, _BLOCK_SIZE)
        (blocks,) = struct.unpack_from(">Q", head, _BLOCKS)
        return int(blocks) * int(block_size)


def _uuid(serial: str) -> uuid.UUID:
    """The UUID of the file system that is made on a volume: its 31 hexadecimal digits, and a 0."""
    return uuid.UUID(hex=f"{serial}0")
