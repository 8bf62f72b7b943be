"""File systems on whole disks: told apart, made where the disk is blank, mounted, grown."""

import contextlib
import errno
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Protocol

from csi_lvm_iscsi.commands.runner import Runner, Where
from csi_lvm_iscsi.initiator.blocking import bounded, start
from csi_lvm_iscsi.initiator.devices import Device, Devices, ScsiDisk
from csi_lvm_iscsi.model.errors import DriverError, FailedPrecondition, OutOfRange
from csi_lvm_iscsi.model.publications import Publication
from csi_lvm_iscsi.model.sizes import human
from csi_lvm_iscsi.node.ext4 import Ext4
from csi_lvm_iscsi.node.mounts import Mount, Mounts
from csi_lvm_iscsi.node.staged import Staged
from csi_lvm_iscsi.node.xfs import Xfs

_PROBE_SECONDS = 30.0
_MOUNT_SECONDS = 300.0  # it may replay a journal
# libblkid looks at these: file systems' marks at the start, those of RAID and GPT at the end.
_ENDS = 1 << 20
_HEAD = 4096
"""Where superblocks are."""

# The exit codes of blkid(8).
_BLKID_FOUND = 0
_BLKID_NOTHING = 2
_BLKID_AMBIVALENT = 8


class FileSystem(Protocol):
    """One type of file system."""

    @property
    def minimum_bytes(self) -> int:
        """The smallest disk that it can be made on."""

    @property
    def options(self) -> tuple[str, ...]:
        """What it is mounted with, always."""

    @property
    def read_only_options(self) -> tuple[str, ...]:
        """What it is mounted with so that nothing at all is written."""

    async def make(self, device: Device, serial: str) -> None:
        """Make it. One that was killed must not be taken for somebody's data by the next call."""

    async def check(self, device: Device) -> None:
        """What must precede a mount. Raises FailedPrecondition where a person must repair it."""

    async def diagnose(self, device: Device) -> str:
        """What is wrong with one that could not be mounted: sentences."""

    async def grow(self, device: Device, mounted: Path) -> None:
        """Grow a mounted one to the size of its disk."""

    def is_half_made(self, head: bytes, serial: str) -> bool:
        """Whether a disk with these first bytes holds what a killed `make` left, and no more."""

    def size(self, head: bytes) -> int:
        """Its size in bytes, by the first bytes of its disk; 0 where it cannot be read."""


class FileSystems:
    """File systems on the disks of volumes."""

    def __init__(self, runner: Runner, devices: Devices, mounts: Mounts) -> None:
        self._runner = runner
        self._devices = devices
        self._mounts = mounts
        self._types: Mapping[str, FileSystem] = {"ext4": Ext4(runner), "xfs": Xfs(runner)}

    async def mount(self, device: Device, record: Staged, file_system: str) -> None:
        """Have the file system of a staged volume mounted on its staging path: made where the disk
        is blank, else checked. Where it is staged read-only, nothing is written.

        Raises FailedPrecondition where there is something else on the disk, it cannot be repaired
        without a decision, or mount refuses it; OutOfRange where the disk is too small for it.
        """
        async with self._held(device, record.publication):
            await self._mount(device, record, file_system)

    @contextlib.asynccontextmanager
    async def _held(self, device: Device, publication: Publication) -> AsyncIterator[None]:
        """Have the name of a disk be of just this disk: its session may end at any time, and
        another disk get the name, which would be formatted then. The kernel gives a name away only
        when nobody has the disk open any more (drivers/scsi/sd.c, scsi_disk_release)."""
        file = await bounded(lambda: _open(device), _PROBE_SECONDS, _silent(device))
        try:
            if isinstance(device, ScsiDisk):  # a map goes by our hand only
                self._devices.check_identity(device, publication.serial, publication.size_bytes)
            yield
        finally:
            start(file.close)  # not waited for: it may write out, on a session that is cut

    async def _mount(self, device: Device, record: Staged, file_system: str) -> None:
        await self._ensure(
            device, file_system, record.publication.serial, read_only=record.read_only
        )
        kind = self._types[file_system]
        own = kind.read_only_options if record.read_only else kind.options
        # Of options that contradict each other the last one counts.
        options = ",".join((*record.mount_flags, *own))
        try:
            await self._mounts.mount(
                *("--types", file_system, *(("--options", options) if options else ())),
                *(str(device.path), record.staging_path),
                seconds=_MOUNT_SECONDS,
            )
        except FailedPrecondition as error:
            flags = ",".join(record.mount_flags)
            asked = f" Correct the mount options that were asked for ({flags})." if flags else ""
            raise FailedPrecondition(f"{error} {await kind.diagnose(device)}{asked}") from error

    async def _ensure(
        self, device: Device, file_system: str, serial: str, *, read_only: bool
    ) -> None:
        """Have a sound file system on a disk; see `mount`."""
        kind = self._types[file_system]
        head = await self._read_ends(device)
        half_made = kind.is_half_made(head, serial)
        found = None if half_made else await self._signature(device)
        if found not in (None, file_system):
            raise FailedPrecondition(
                f"The volume was asked for as {file_system}, but {device.path} holds {found}: it "
                "is not formatted. Use the volume as raw block, or, if nothing on it is needed, "
                f"erase it with `wipefs --all {device.path}` and call again."
            )
        if found is None and read_only:
            raise FailedPrecondition(
                f"The volume holds no file system, and is read-only: nothing can be made on "
                f"{device.path}. Write to it once as ReadWriteOnce, or make it from a snapshot."
            )
        if found is None:
            await self._make(kind, device, file_system, serial)
        elif not read_only:
            await kind.check(device)

    async def grow_where_smaller(self, device: Device, file_system: str, mount: Mount) -> None:
        """Grow a mounted file system that is smaller than its disk; leave a read-only one."""
        if mount.read_only:
            return
        head = await bounded(lambda: _read_head(device), _PROBE_SECONDS, _silent(device))
        kind = self._types[file_system]
        if 0 < kind.size(head) < self._devices.size(device):
            await kind.grow(device, mount.target)

    async def _make(self, kind: FileSystem, device: Device, file_system: str, serial: str) -> None:
        size = self._devices.size(device)
        if size < kind.minimum_bytes:
            raise OutOfRange(
                f"The volume has {human(size)}, and {file_system} needs at least "
                f"{human(kind.minimum_bytes)}: make a larger volume, or ask for ext4 "
                "(csi.storage.k8s.io/fstype in the StorageClass)."
            )
        await kind.make(device, serial)

    async def _read_ends(self, device: Device) -> bytes:
        return await bounded(lambda: _read_ends(device), _PROBE_SECONDS, _silent(device))

    async def _signature(self, device: Device) -> str | None:
        """What is on a disk: a type of file system, partition table or member; None: nothing.

        blkid says "nothing found" also of a disk that it cannot read (misc-utils/blkid.c,
        lowprobe_device), and blank disks are formatted. So its ends are read first, and once more
        after blkid, as it may have been cut off meanwhile.
        """
        completed = await self._runner.run(
            *("blkid", "--probe", "--output", "export", str(device.path)),
            where=Where.HERE,
            seconds=_PROBE_SECONDS,
            expect=(_BLKID_FOUND, _BLKID_NOTHING, _BLKID_AMBIVALENT),
        )
        if completed.code == _BLKID_NOTHING:
            await self._read_ends(device)
            return None
        if completed.code == _BLKID_AMBIVALENT:
            return "several signatures that contradict each other"
        tags = dict(line.split("=", 1) for line in completed.stdout.splitlines() if "=" in line)
        return tags.get("TYPE") or f"a partition table ({tags.get('PTTYPE', 'of unknown type')})"


def _read_ends(device: Device) -> bytes:
    """Read the first and the last MiB of a disk; return what superblocks are in."""
    with _opened(device) as file:
        end = file.seek(0, os.SEEK_END)
        head = _read_whole(file, 0, min(_ENDS, end))
        _read_whole(file, max(0, end - _ENDS), min(_ENDS, end))
        return head[:_HEAD]


def _read_head(device: Device) -> bytes:
    with _opened(device) as file:
        return _read_whole(file, 0, _HEAD)


@contextlib.contextmanager
def _opened(device: Device) -> Iterator[BinaryIO]:
    """A disk, to be read from the disk and not from the cache."""
    try:
        with device.path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            yield file
    except OSError as error:
        raise _unreadable(device, error) from error


def _open(device: Device) -> BinaryIO:
    """A disk, open; closed again where nobody waits for it any more."""
    try:
        return device.path.open("rb")
    except OSError as error:
        raise _unreadable(device, error) from error


def _unreadable(device: Device, error: OSError) -> DriverError:
    return DriverError(
        f"{device.path} cannot be read ({error.strerror}): see the kernel's log and the storage "
        "host."
    )


def _read_whole(file: BinaryIO, offset: int, length: int) -> bytes:
    """Raise OSError unless all of it can be read. read(2) may return less and no error, as before a
    block that fails; a buffered `file` reads on then, up to the error or the end."""
    file.seek(offset)
    content = file.read(length)
    if len(content) < length:
        raise OSError(errno.EIO, "it ends before its size")
    return content


def _silent(device: Device) -> str:
    return f"{device.path} cannot be read: the storage host does not answer. Call again."
