"""ext4: made, checked, mounted read-only, grown."""

import struct
from pathlib import Path

from csi_lvm_iscsi.commands.runner import Runner, Where
from csi_lvm_iscsi.initiator.devices import Device
from csi_lvm_iscsi.model.errors import FailedPrecondition

_MAKE_SECONDS = 300.0
_CHECK_SECONDS = 1800.0
_GROW_SECONDS = 600.0

# The exit codes of e2fsck(8).
_CLEAN = 0
_CORRECTED = 1

# Where the kernel's fs/ext4/ext4.h, struct ext4_super_block, has what is read here.
_SUPERBLOCK = 1024
_BLOCKS_LOW = _SUPERBLOCK + 0x04
_BLOCK_SIZE = _SUPERBLOCK + 0x18
_MAGIC = _SUPERBLOCK + 0x38
_INCOMPATIBLE = _SUPERBLOCK + 0x60
_BLOCKS_HIGH = _SUPERBLOCK + 0x150
_IS_EXT4 = 0xEF53
_64_BIT = 0x80


class Ext4:
    """ext4; see `FileSystem`."""

    minimum_bytes = 0
    options = ()
    # Without noload the kernel would replay the journal, which writes.
    read_only_options = ("ro", "noload")

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    async def make(self, device: Device, serial: str) -> None:
        """Make ext4.

        A killed mkfs, or one cut short by a power cut, leaves no signature and is made again:
        mke2fs wipes the superblock first, and writes it last of all, after an fsync of the rest
        (lib/ext2fs/closefs.c, ext2fs_flush2; seen with strace on 1.47.0). The inode tables and
        the journal are zeroed later by the kernel, and blocks are not discarded one by one: a
        fresh volume reads as zeros.
        """
        await self._runner.run(
            *("mkfs.ext4", "-q", "-F", "-m", "0"),
            *("-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1", str(device.path)),
            where=Where.HERE,
            seconds=_MAKE_SECONDS,
        )

    async def check(self, device: Device) -> None:
        """Replay the journal, and repair what is safely repaired; a clean one costs little.

        Raises FailedPrecondition where it cannot be repaired without a decision.
        """
        completed = await self._runner.run(
            *("e2fsck", "-p", str(device.path)),
            where=Where.HERE,
            seconds=_CHECK_SECONDS,
            expect=range(256),
        )
        if completed.code not in (_CLEAN, _CORRECTED):
            raise FailedPrecondition(
                f"The file system on {device.path} is not mounted, as it is damaged or in use: "
                f"e2fsck ended with {completed.code} and said: {completed.stdout.strip()} "
                f"{completed.stderr.strip()}. Repair it by hand (e2fsck {device.path}) with the "
                "volume attached as raw block."
            )

    async def diagnose(self, device: Device) -> str:
        """Why it may not be mounted: not for damage, as it was checked just before."""
        return "ext4 itself is sound."

    async def grow(self, device: Device, mounted: Path) -> None:
        """Grow it to the size of its disk, while it is mounted. A killed one is gone on with."""
        await self._runner.run(
            "resize2fs", str(device.path), where=Where.HERE, seconds=_GROW_SECONDS
        )

    def is_half_made(self, head: bytes, serial: str) -> bool:
        """Never: a half-made one has no superblock."""
        return False

    def size(self, head: bytes) -> int:
        """Its size in bytes; 0 where it cannot be read."""
        if struct.unpack_from("<H", head, _MAGIC)[0] != _IS_EXT4:
            return 0
        (blocks,) = struct.unpack_from("<I", head, _BLOCKS_LOW)
        (block_size_log,) = struct.unpack_from("<I", head, _BLOCK_SIZE)
        if struct.unpack_from("<I", head, _INCOMPATIBLE)[0] & _64_BIT:
            blocks |= struct.unpack_from("<I", head, _BLOCKS_HIGH)[0] << 32
        return int(blocks) << (10 + int(block_size_log))
