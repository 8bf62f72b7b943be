"""The flow of NodeStageVolume and NodeUnstageVolume."""

from dataclasses import replace
from pathlib import Path

import structlog

from csi_lvm_iscsi.initiator.attachments import Attachments
from csi_lvm_iscsi.initiator.devices import Device, Devices
from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.model.access import Capability
from csi_lvm_iscsi.model.errors import AlreadyExists, DriverError, FailedPrecondition
from csi_lvm_iscsi.model.in_flight import InFlight
from csi_lvm_iscsi.model.publications import Publication
from csi_lvm_iscsi.node.filesystems import FileSystems
from csi_lvm_iscsi.node.mounts import Mounts
from csi_lvm_iscsi.node.staged import Staged, check_volume_id
from csi_lvm_iscsi.records.directory import RecordDirectory

_log = structlog.get_logger()


class Staging:
    """Stages and unstages volumes.

    Each step looks first at what is there, so a call goes on from wherever an earlier one was
    killed.
    """

    def __init__(
        self,
        *,
        records: RecordDirectory[Staged],
        attachments: Attachments,
        devices: Devices,
        file_systems: FileSystems,
        mounts: Mounts,
        in_flight: InFlight,
        boot_id: str,
    ) -> None:
        self._records = records
        self._attachments = attachments
        self._devices = devices
        self._file_systems = file_systems
        self._mounts = mounts
        self._in_flight = in_flight
        self._boot_id = boot_id

    async def stage(
        self, publication: Publication, staging_path: Path, capability: Capability
    ) -> None:
        """Have the volume's disk here and, unless it is for raw block, mounted on `staging_path`.

        Raises NotFound for what is no volume id of ours, AlreadyExists where it is staged
        otherwise, FailedPrecondition where something must be put right first.
        """
        volume = publication.volume_id
        check_volume_id(volume)
        async with self._in_flight.call(volume, "NodeStageVolume"):
            await self._retire_others(publication)
            record = self._begin(publication, staging_path, capability)
            ours = self._attachments.session(publication) is None
            try:
                await self._stage(publication, record)
            except Exception:
                if ours:
                    await self._undo(volume)
                raise

    async def unstage(self, volume: str, staging_path: Path) -> None:
        """Have nothing of the volume here any more, its data written out. OK where nothing is.

        Raises FailedPrecondition where it is still in use, TookTooLong where it cannot be written
        out now.
        """
        async with self._in_flight.call(volume, "NodeUnstageVolume"):
            if not names.is_volume_id(volume):
                return
            self._check_unpublished(volume, staging_path)
            await self._mounts.unmount(staging_path)
            await self._attachments.release(volume)
            self._records.remove(volume)

    def _check_unpublished(self, volume: str, staging_path: Path) -> None:
        for disk in self._attachments.disks(volume):
            for mount in self._mounts.of(disk):
                if mount.target != staging_path:
                    raise FailedPrecondition(
                        f"Volume {volume} is still mounted on {mount.target}: call "
                        "NodeUnpublishVolume for that first."
                    )

    def _begin(
        self, publication: Publication, staging_path: Path, capability: Capability
    ) -> Staged:
        """The record of this publication: written now, or by an earlier call that was for the
        same."""
        begun = Staged.begin(publication, staging_path, capability, self._boot_id)
        record = self._records.read(publication.volume_id)
        if record is None or not _same_life(record, begun):
            self._records.write(publication.volume_id, begun)
            return begun
        asked = (begun.staging_path, begun.way, begun.mount_flags)
        if asked != (record.staging_path, record.way, record.mount_flags):
            raise AlreadyExists(
                f"Volume {publication.volume_id} is staged already at {record.staging_path} as "
                f"{record.way}: call NodeUnstageVolume for that first."
            )
        return record

    async def _stage(self, publication: Publication, record: Staged) -> None:
        session = await self._attachments.ensure_session(publication)
        device = await self._attachments.ensure_disk(publication, session)
        if (record.device, record.number) != (device.name, device.number):
            found = replace(record, device=device.name, number=device.number)
            self._records.write(publication.volume_id, found)
        if record.file_system is not None:
            await self._mount(device, record.file_system, record)

    async def _mount(self, device: Device, file_system: str, record: Staged) -> None:
        staging_path = Path(record.staging_path)
        mounted = self._mounts.at(staging_path)
        if mounted is not None:
            if mounted.number == device.number:
                await self._file_systems.grow_where_smaller(device, file_system, mounted)
                return
            if not self._devices.is_dead(mounted.number):
                raise FailedPrecondition(
                    f"On {staging_path} another device ({mounted.number}, {mounted.file_system}) "
                    "is mounted: unmount it, then call again."
                )
            await self._mounts.detach((mounted,))
        # Only now: of a file system that was shut down, its very root gives an error.
        _ensure_directory(staging_path)
        await self._file_systems.mount(device, record, file_system)
        mounted = self._mounts.at(staging_path)
        # A volume may have grown while it was detached, or begun as a copy of a smaller one.
        if mounted is not None:
            await self._file_systems.grow_where_smaller(device, file_system, mounted)

    async def _retire_others(self, publication: Publication) -> None:
        """Take away what earlier publications of the volume left: it was fenced away meanwhile, and
        another node may have written to it, so nothing cached of it may be written or read."""
        # To be found now, while the disks are there; to be unmounted after the logout, as that
        # would wait for a disk that is cut.
        disks = self._attachments.stale_disks(publication)
        mounts = [mount for disk in disks for mount in self._mounts.of(disk)]
        await self._attachments.retire_stale(publication)
        await self._mounts.detach(mounts)
        record = self._records.read(publication.volume_id)
        if record is None or record.boot_id != self._boot_id or record.device is None:
            return
        if record.publication.nonce != publication.nonce and self._devices.is_dead(
            record.number or ""
        ):
            await self._mounts.detach(self._mounts.of_dead(record.device, record.number or ""))

    async def _undo(self, volume: str) -> None:
        """Take back what a stage made that failed; the next one would do without."""
        try:
            await self._attachments.release(volume)
            self._records.remove(volume)
        except (DriverError, OSError) as error:
            _log.warning("the failed stage was not taken back", error=str(error))


def _same_life(record: Staged, begun: Staged) -> bool:
    """Whether both are of one publication and of one boot."""
    return (record.publication.nonce, record.boot_id) == (begun.publication.nonce, begun.boot_id)


def _ensure_directory(path: Path) -> None:
    path.mkdir(parents=True, exist_ok=True)
