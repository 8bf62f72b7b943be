"""NodeGetVolumeStats and NodeGetVolumeHealth: how full a volume is, and what is wrong with it."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from csi_lvm_iscsi.initiator.attachments import Attachments
from csi_lvm_iscsi.initiator.blocking import start, within
from csi_lvm_iscsi.initiator.devices import Devices
from csi_lvm_iscsi.model.errors import FailedPrecondition, TookTooLong, Unavailable
from csi_lvm_iscsi.model.health import Kind, Trouble
from csi_lvm_iscsi.node.staged import Staged
from csi_lvm_iscsi.node.volume_paths import VolumePaths

_SECONDS = 5.0
_STAGE_ANEW = "End the pods that use it, so that it is staged anew"


@dataclass(frozen=True, slots=True)
class Usage:
    """So many bytes or inodes; nothing is known of used ones in raw block."""

    total: int
    used: int = 0
    available: int = 0


@dataclass(frozen=True, slots=True)
class Stats:
    """How full a volume is."""

    bytes: Usage
    inodes: Usage | None = None


class VolumeStats:
    """Looks at staged volumes. It takes no lock and never hangs, whatever their state."""

    def __init__(
        self, volume_paths: VolumePaths, attachments: Attachments, devices: Devices, sys: Path
    ) -> None:
        self._volume_paths = volume_paths
        self._attachments = attachments
        self._devices = devices
        self._sys = sys
        self._asked: dict[str, asyncio.Future[Stats]] = {}

    async def stats(self, volume: str, path: Path) -> Stats:
        """How full a volume is that is staged or published on `path`.

        Raises NotFound where it is not, Unavailable or FailedPrecondition where its disk or file
        system does not answer.
        """
        record = self._volume_paths.staged(volume, path)
        if record.file_system is None:
            return Stats(Usage(self._size(volume, record)))
        trouble = self._attachments.trouble(record.publication)
        if trouble is not None and trouble.kind is Kind.INACCESSIBLE:
            raise Unavailable(trouble.message)
        if self._volume_paths.mount(record, path) is None:
            raise FailedPrecondition(_unmounted(path).message)
        try:
            return await self._ask(volume, path)
        except OSError as error:
            raise FailedPrecondition(_shut_down(path, error).message) from error

    async def health(self, volume: str, path: Path | None) -> tuple[Trouble, ...]:
        """What is wrong with a volume that is staged or published on `path` (None: staged
        anywhere); the worst alone, as the rest follows from it. Raises NotFound where it is not."""
        record = self._volume_paths.staged(volume, path)
        trouble = self._attachments.trouble(record.publication)
        accessible = trouble is None or trouble.kind is not Kind.INACCESSIBLE
        if accessible and record.file_system is not None:
            looked_at = path or Path(record.staging_path)
            trouble = await self._file_system_trouble(volume, looked_at, record) or trouble
        return () if trouble is None else (trouble,)

    def _size(self, volume: str, record: Staged) -> int:
        """As the kernel has it, else as it was published. No I/O is started for it."""
        for disk in self._attachments.disks(volume):
            if disk.number == record.number:
                return self._devices.size(disk)
        return record.publication.size_bytes

    async def _file_system_trouble(self, volume: str, path: Path, record: Staged) -> Trouble | None:
        mount = self._volume_paths.mount(record, path)
        if mount is None:
            return _unmounted(path)
        try:
            await self._ask(volume, path)
        except TookTooLong as error:
            return Trouble(Kind.INACCESSIBLE, "FileSystemHangs", str(error))
        except OSError as error:
            return _shut_down(path, error)
        if mount.file_system_read_only and not (record.read_only or "ro" in record.mount_flags):
            return Trouble(
                Kind.DATA_LOSS,
                "FileSystemReadOnly",
                f"The file system on {path} turned read-only after an error: see the kernel's log. "
                f"{_STAGE_ANEW}, which checks it.",
            )
        # Linux 6.1.176 refuses writes after an error, and shows the file system as rw still. Its
        # count is kept in the superblock until e2fsck found it sound (fs/ext4/sysfs.c).
        errors = self._sys / "fs" / "ext4" / str(record.device) / "errors_count"
        if errors.exists() and int(errors.read_text()):
            return Trouble(
                Kind.DATA_LOSS,
                "FileSystemErrors",
                f"The kernel found {int(errors.read_text())} errors in the file system on {path}, "
                f"which may be read-only now: see its log. {_STAGE_ANEW}, which checks it.",
            )
        return None

    async def _ask(self, volume: str, path: Path) -> Stats:
        """Ask the file system; while an earlier question hangs, no other one is asked."""
        asked = self._asked.get(volume)
        if asked is None:
            asked = self._asked[volume] = start(_asking(path))
            asked.add_done_callback(lambda _: self._asked.pop(volume))
        return await within(
            asyncio.shield(asked),
            _SECONDS,
            f"The file system on {path} hangs: it waits for its disk. See the kernel's log and the "
            "storage host.",
        )


def _asking(path: Path) -> Callable[[], Stats]:
    def ask() -> Stats:
        # XFS tells of its shutdown here (fs/xfs/xfs_iops.c, xfs_vn_getattr), not in statvfs.
        path.stat()
        answer = os.statvfs(path)
        unit = answer.f_frsize
        used = answer.f_blocks - answer.f_bfree
        return Stats(
            Usage(answer.f_blocks * unit, used * unit, answer.f_bavail * unit),
            Usage(answer.f_files, answer.f_files - answer.f_ffree, answer.f_favail),
        )

    return ask


def _unmounted(path: Path) -> Trouble:
    return Trouble(
        Kind.INACCESSIBLE,
        "NotMounted",
        f"The volume is not mounted on {path} any more. {_STAGE_ANEW}.",
    )


def _shut_down(path: Path, error: OSError) -> Trouble:
    return Trouble(
        Kind.INACCESSIBLE,
        "FileSystemShutDown",
        f"The file system on {path} cannot be used ({error.strerror}): the kernel shut it down "
        f"after an error, see its log. {_STAGE_ANEW}.",
    )
