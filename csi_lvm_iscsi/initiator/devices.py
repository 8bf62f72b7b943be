"""The disk of a session: made to appear, told apart from others, and made to go, by sysfs."""

import asyncio
import errno
import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

import structlog

from csi_lvm_iscsi.commands.waiting import until, until_async
from csi_lvm_iscsi.initiator.blocking import bounded, start, within
from csi_lvm_iscsi.initiator.sessions import Session
from csi_lvm_iscsi.model.errors import FailedPrecondition
from csi_lvm_iscsi.model.sizes import human

_log = structlog.get_logger()

SECTOR = 512  # of /sys/block/*/size, whatever the disk's own sectors are
_VPD_HEADER = 4  # SPC-4, 7.8.15: the serial number follows four bytes
_BLKFLSBUF = 0x1261  # linux/fs.h: write out and drop the cached blocks
_SCAN_SECONDS = 30.0
_APPEAR_SECONDS = 15.0
_REFRESH_SECONDS = 30.0
_REMOVE_SECONDS = 30.0
_FLUSH_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Device:
    """A disk, or a map of device-mapper over the disks of several sessions."""

    name: str
    """The kernel's, like sda."""

    path: Path
    """Its node, like /dev/sda."""

    number: str
    """major:minor."""


@dataclass(frozen=True, slots=True)
class ScsiDisk(Device):
    """The disk of one session."""

    scsi: Path
    """Its SCSI device in sysfs."""


class Devices:
    """The disks of iSCSI sessions."""

    def __init__(self, sys: Path, dev: Path) -> None:
        self._sys = sys
        self._dev = dev
        self._flushes: dict[Device, asyncio.Future[None]] = {}

    def find(self, session: Session, lun: int) -> ScsiDisk | None:
        """The disk of a session, if the kernel has it."""
        address = f"{session.host}:0:0"
        return self._read(session.directory / f"target{address}" / f"{address}:{lun}")

    def all(self, session: Session) -> tuple[ScsiDisk, ...]:
        """All disks of a session."""
        try:
            entries = sorted(session.directory.glob("target*:*:*/*:*:*:*"))
        except OSError:  # the session goes meanwhile
            return ()
        found = map(self._read, entries)
        return tuple(device for device in found if device is not None)

    def _read(self, scsi: Path) -> ScsiDisk | None:
        """The disk of a SCSI device; None where it has none, or vanishes while it is read."""
        try:
            block = next((scsi / "block").iterdir())
            number = (block / "dev").read_text().strip()
        except (OSError, StopIteration):
            return None
        return ScsiDisk(block.name, self._dev / block.name, number, scsi)

    def is_dead(self, number: str) -> bool:
        """Whether a mount with this major:minor is of a disk that is gone.

        File systems without a disk have major 0, and were never there. While a file system is
        mounted, its number is not given to another disk.
        """
        return not number.startswith("0:") and not (self._sys / "dev" / "block" / number).exists()

    async def appear(self, session: Session, lun: int) -> ScsiDisk:
        """Scan for just this LUN, and wait for its disk. Not for udev: its links come a second
        later and are not needed."""
        scan = self._sys / "class" / "scsi_host" / f"host{session.host}" / "scan"
        await bounded(
            lambda: scan.write_text(f"0 0 {lun}"),
            _SCAN_SECONDS,
            f"The scan for LUN {lun} of iSCSI session {session.id} hangs: the storage host does "
            "not answer SCSI commands.",
        )
        device = await until(
            lambda: self.find(session, lun),
            _APPEAR_SECONDS,
            f"LUN {lun} of iSCSI session {session.id} has no disk after {_APPEAR_SECONDS:g} s: see "
            "the kernel's log, and whether the module sd_mod is loaded.",
        )
        await until_async(
            lambda: self._opens(device),
            _APPEAR_SECONDS,
            f"{device.path} cannot be opened after {_APPEAR_SECONDS:g} s: see the kernel's log.",
        )
        return device

    async def _opens(self, device: Device) -> bool:
        """Whether a disk can be opened. The kernel shows a new one in sysfs a moment before
        (block/genhd.c, device_add_disk: bdev_add follows device_add)."""

        def attempt() -> bool:
            try:
                os.close(os.open(device.path, os.O_RDONLY | os.O_CLOEXEC))
            except OSError:
                return False
            return True

        return await bounded(
            attempt,
            _SCAN_SECONDS,
            f"{device.path} cannot be opened: the storage host does not answer. Call again.",
        )

    async def refresh(self, device: ScsiDisk) -> None:
        """Have the kernel ask a disk whose session works anew for its serial number and size.

        It knows them from the scan, and another LUN may be behind the session by now. A rescan
        reads the VPD pages again, 0x80 among them (Linux 6.1, drivers/scsi/scsi_scan.c,
        scsi_rescan_device; drivers/scsi/scsi.c, scsi_attach_vpd), and the size (drivers/scsi/sd.c,
        sd_rescan). Of a disk that does not answer the kernel keeps what it knew.
        """
        await self._write(device, "rescan", "1", _REFRESH_SECONDS, _hangs(device))

    def check_identity(self, device: ScsiDisk, serial: str, size_bytes: int) -> None:
        """Raise FailedPrecondition unless this is the published disk. It may have grown."""
        self.check_serial(device, serial)
        self.check_size(device, size_bytes)

    def check_serial(self, device: ScsiDisk, serial: str) -> None:
        """Raise FailedPrecondition where this is another volume's disk."""
        try:
            found = (device.scsi / "vpd_pg80").read_bytes()[_VPD_HEADER:].decode().strip("\0 ")
        except (OSError, UnicodeDecodeError):
            found = ""
        if found != serial:
            raise FailedPrecondition(
                f"{device.path} has the serial number {found!r}, the volume has {serial!r}: it is "
                "another disk and is left alone. See what the storage host exports as this target."
            )

    def check_size(self, device: ScsiDisk, size_bytes: int) -> None:
        """Raise FailedPrecondition where this disk is smaller."""
        size = self.size(device)
        if size < size_bytes:
            raise FailedPrecondition(
                f"{device.path} has {human(size)}, the volume {human(size_bytes)}: it is left "
                "alone. See what the storage host exports as this target."
            )

    def size(self, device: Device) -> int:
        """The size of a disk or map in bytes, as the kernel knows it; 0 where it is gone."""
        above = device.scsi if isinstance(device, ScsiDisk) else self._sys
        try:
            return int((above / "block" / device.name / "size").read_text()) * SECTOR
        except OSError:
            return 0

    def state(self, device: ScsiDisk) -> str:
        """running, blocked (its session is cut), offline and others (drivers/scsi/scsi_sysfs.c,
        sdev_states); empty where it is gone."""
        try:
            return (device.scsi / "state").read_text().strip()
        except OSError:
            return ""

    def works(self, device: ScsiDisk) -> bool:
        """Whether the kernel sends I/O to a disk: it does not while its session is cut."""
        return self.state(device) == "running"

    async def ensure(self, session: Session, lun: int, serial: str, size_bytes: int) -> ScsiDisk:
        """The disk of a session that works, identified.

        One that is not the published disk is removed and looked for once more, as the kernel may
        know it from before. Raises FailedPrecondition where it is still another one.
        """
        device = self.find(session, lun)
        if device is None:
            device = await self.appear(session, lun)
        else:
            await self.refresh(device)
        try:
            self.check_identity(device, serial, size_bytes)
        except FailedPrecondition as error:
            _log.warning("another disk than was published", device=device.name, error=str(error))
            # The removal writes out what is cached, which was meant for the disk that was there.
            await self.set_offline(device)
            await self.remove(device)
            device = await self.appear(session, lun)
            self.check_identity(device, serial, size_bytes)
        await self._forbid_write_same(device)
        return device

    async def _forbid_write_same(self, device: ScsiDisk) -> None:
        """Have the kernel zero blocks of a disk by writing zeros, not with WRITE SAME.

        tgtd writes the blocks of a WRITE SAME one by one, 512 bytes each (fujita/tgt,
        usr/bs_rdwr.c, bs_rdwr_request). And from 1.0.90 a thin unit promises that unmapped blocks
        read as zeros, which is not so for parts of a chunk of a thin pool: Linux would unmap where
        it is asked for zeros, and show the old data (drivers/scsi/sd.c, SD_ZERO_WS16_UNMAP).
        """
        attribute = f"scsi_disk/{device.scsi.name}/max_write_same_blocks"
        await self._write(device, attribute, "0", _REFRESH_SECONDS, _hangs(device))

    async def flush(self, device: Device, seconds: float = _FLUSH_SECONDS) -> None:
        """Write out what is cached of a disk.

        Raises FailedPrecondition where it is mounted or mapped, in whatever mount namespace: the
        kernel refuses an exclusive open then. Raises TookTooLong where the session is cut: what is
        written may still arrive, so it is not given up before the kernel does
        (replacement_timeout); from then on it answers with an error and the unstage goes on.

        A flush that hangs is waited for again by the next call: it has the disk open exclusively,
        so that a second one would be refused.
        """
        flush = self._flushes.get(device)
        if flush is None:
            flush = self._flushes[device] = start(lambda: _flush(device))
            flush.add_done_callback(lambda _: self._flushes.pop(device))
        await within(
            asyncio.shield(flush),
            seconds,
            f"{device.path} cannot be written out within {seconds:g} s: the storage host does not "
            "answer. Bring it back; else the data is given up when the kernel does so, 10 minutes "
            "after the cut.",
        )

    async def remove(self, device: ScsiDisk) -> None:
        """Remove a disk whose session works from the kernel, and wait until it is gone."""
        await self._write(device, "delete", "1", _REMOVE_SECONDS, _stays(device))
        await until(
            lambda: not device.scsi.exists(),
            _REMOVE_SECONDS,
            f"{device.path} was removed, but the kernel still has it: something holds it.",
        )

    async def set_offline(self, device: ScsiDisk) -> None:
        """Let all I/O of a disk fail from now on, so that what is cached of it is never written.

        It does not block, as `delete` does: that waits for the disk to synchronise its cache. While
        the session is cut the kernel refuses it (drivers/scsi/scsi_sysfs.c, store_state_field), and
        there is no need: I/O waits then, and fails when the session ends (drivers/scsi/
        scsi_transport_iscsi.c, iscsi_remove_session).
        """
        try:
            await self._write(device, "state", "offline", _REMOVE_SECONDS, _stays(device))
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise

    async def _write(
        self, device: ScsiDisk, attribute: str, value: str, seconds: float, failure: str
    ) -> None:
        def write() -> None:
            try:
                (device.scsi / attribute).write_text(value)
            except OSError as error:
                # Gone already; ENODEV where it went after it was opened (fs/kernfs/file.c,
                # kernfs_fop_write_iter).
                if error.errno not in (errno.ENOENT, errno.ENODEV):
                    raise

        await bounded(write, seconds, failure)


def _flush(device: Device) -> None:
    """See Devices.flush. The loss is logged here, where it is seen even if nobody waits any more:
    the kernel tells it once only (fsync(2), "ERRORS", EIO)."""
    try:
        descriptor = os.open(device.path, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
            fcntl.ioctl(descriptor, _BLKFLSBUF)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise FailedPrecondition(
                f"{device.path} is still in use: mounted in another mount namespace, part of a "
                f"device mapping (see `lsblk {device.path}`), or being written out still for a "
                "role that was killed. End that use, or wait for it; then call again."
            ) from error
        _log.warning("cached writes are lost", device=device.name, error=str(error))


def _hangs(device: Device) -> str:
    return (
        f"{device.path} does not tell its serial number: its storage host does not answer. Call "
        "again."
    )


def _stays(device: Device) -> str:
    return f"{device.path} cannot be removed: its storage host does not answer. Call again."
