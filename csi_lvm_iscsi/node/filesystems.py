"""ext4 on a disk: told apart, made and checked."""

import errno
import os
from typing import BinaryIO

from csi_lvm_iscsi.commands.runner import Runner, Where
from csi_lvm_iscsi.initiator.blocking import bounded
from csi_lvm_iscsi.initiator.devices import Device
from csi_lvm_iscsi.model.errors import DriverError, FailedPrecondition

_PROBE_SECONDS = 30.0
_FORMAT_SECONDS = 300.0
_CHECK_SECONDS = 1800.0
# libblkid looks at these: file systems' marks at the start, those of RAID and GPT at the end.
_ENDS = 1 << 20

# The exit codes of blkid(8).
_BLKID_FOUND = 0
_BLKID_NOTHING = 2
_BLKID_AMBIVALENT = 8

# Those of e2fsck(8).
_E2FSCK_CLEAN = 0
_E2FSCK_CORRECTED = 1


class FileSystems:
    """File systems on whole disks."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    async def ensure(self, device: Device, file_system: str) -> None:
        """Have a sound file system on a disk: made where the disk is blank, else checked.

        Raises FailedPrecondition where there is something else on it, or it cannot be repaired
        without a decision.
        """
        found = await self._signature(device)
        if found is None:
            await self._make(device)
        elif found == file_system:
            await self._check(device)
        else:
            raise FailedPrecondition(
                f"The volume was asked for as {file_system}, but {device.path} holds {found}: it "
                "is not formatted. Use the volume as raw block, or, if nothing on it is needed, "
                f"erase it with `wipefs --all {device.path}` and call again."
            )

    async def _signature(self, device: Device) -> str | None:
        """What is on a disk: a type of file system, partition table or member; None: nothing."""
        # blkid says "nothing found" also of a disk that it cannot read (misc-utils/blkid.c,
        # lowprobe_device), and blank disks are formatted. So read it first.
        await bounded(
            lambda: _read_ends(device),
            _PROBE_SECONDS,
            f"{device.path} cannot be read: the storage host does not answer. Call again.",
        )
        completed = await self._runner.run(
            *("blkid", "--probe", "--output", "export", str(device.path)),
            where=Where.HERE,
            seconds=_PROBE_SECONDS,
            expect=(_BLKID_FOUND, _BLKID_NOTHING, _BLKID_AMBIVALENT),
        )
        if completed.code == _BLKID_NOTHING:
            return None
        if completed.code == _BLKID_AMBIVALENT:
            return "several signatures that contradict each other"
        tags = dict(line.split("=", 1) for line in completed.stdout.splitlines() if "=" in line)
        return tags.get("TYPE") or f"a partition table ({tags.get('PTTYPE', 'of unknown type')})"

    async def _make(self, device: Device) -> None:
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
            seconds=_FORMAT_SECONDS,
        )

    async def _check(self, device: Device) -> None:
        """Replay the journal, and repair what is safely repaired; a clean one costs little."""
        completed = await self._runner.run(
            *("e2fsck", "-p", str(device.path)),
            where=Where.HERE,
            seconds=_CHECK_SECONDS,
            expect=range(256),
        )
        if completed.code not in (_E2FSCK_CLEAN, _E2FSCK_CORRECTED):
            raise FailedPrecondition(
                f"The file system on {device.path} is not mounted, as it is damaged or in use: "
                f"e2fsck ended with {completed.code} and said: {completed.stdout.strip()} "
                f"{completed.stderr.strip()}. Repair it by hand (e2fsck {device.path}) with the "
                "volume attached as raw block."
            )


def _read_ends(device: Device) -> None:
    """Read the first and the last MiB of a disk, from the disk and not from the cache."""
    try:
        with device.path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            for offset in (0, max(0, end - _ENDS)):
                _read_whole(file, offset, min(_ENDS, end))
    except OSError as error:
        raise DriverError(
            f"{device.path} cannot be read ({error.strerror}): see the kernel's log and the "
            "storage host."
        ) from error


def _read_whole(file: BinaryIO, offset: int, length: int) -> None:
    """Raise OSError unless all of it can be read. read(2) may return less and no error, as before a
    block that fails; a buffered `file` reads on then, up to the error or the end."""
    file.seek(offset)
    if len(file.read(length)) < length:
        raise OSError(errno.EIO, "it ends before its size")
