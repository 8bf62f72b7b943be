"""The flow of NodeExpandVolume: a volume that grew on its storage host grows here too."""

from pathlib import Path

from csi_lvm_iscsi.commands.waiting import until_async
from csi_lvm_iscsi.initiator.attachments import Attachments
from csi_lvm_iscsi.initiator.devices import Device, Devices
from csi_lvm_iscsi.initiator.maps import Map
from csi_lvm_iscsi.model.errors import FailedPrecondition, OutOfRange
from csi_lvm_iscsi.model.in_flight import InFlight
from csi_lvm_iscsi.model.sizes import human
from csi_lvm_iscsi.node.filesystems import FileSystems
from csi_lvm_iscsi.node.staged import Staged
from csi_lvm_iscsi.node.volume_paths import VolumePaths

_GROWN_SECONDS = 15.0


class Expansion:
    """Grows staged volumes while they are in use."""

    def __init__(
        self,
        volume_paths: VolumePaths,
        attachments: Attachments,
        devices: Devices,
        file_systems: FileSystems,
        in_flight: InFlight,
    ) -> None:
        self._volume_paths = volume_paths
        self._attachments = attachments
        self._devices = devices
        self._file_systems = file_systems
        self._in_flight = in_flight

    async def expand(self, volume: str, path: Path, required: int, limit: int) -> int:
        """Have the kernel know the volume's size, its file system fill it, and return it in bytes.

        0 for `required` or `limit` means that it was not given. Raises NotFound where the volume is
        not on `path`, TookTooLong where it is smaller than `required` on its storage host,
        OutOfRange where it is larger than `limit`.
        """
        async with self._in_flight.call(volume, "NodeExpandVolume"):
            record = self._volume_paths.staged(volume, path)
            device = await self._attachments.find_disk(record.publication)
            size = self._devices.size(device)
            # A disk was asked anew by now; a map is as large as it was made.
            if size < required or isinstance(device, Map):
                device = await self._grown(volume, device, max(required, size))
                size = self._devices.size(device)
            if limit and size > limit:
                raise OutOfRange(
                    f"Volume {volume} has {human(size)} already, above the limit of "
                    f"{human(limit)}: volumes do not shrink."
                )
            if record.file_system is not None:
                await self._grow(device, record, record.file_system)
            return size

    async def _grown(self, volume: str, device: Device, required: int) -> Device:
        """The disk, when the kernel found it to be at least as large as is required."""

        async def enough() -> Device | None:
            try:
                return await self._attachments.ensure_size(volume, required)
            except FailedPrecondition:
                # Smaller still, most likely. Whatever it is, kubelet would not try again after
                # FAILED_PRECONDITION (MarkForInUseExpansionError), but does after a time-out.
                return None

        return await until_async(
            enough,
            _GROWN_SECONDS,
            f"{device.path} has {human(self._devices.size(device))}, not {human(required)}: the "
            "storage host has not grown it yet (ControllerExpandVolume). Call again when it has.",
        )

    async def _grow(self, device: Device, record: Staged, file_system: str) -> None:
        mount = self._volume_paths.mount(record, Path(record.staging_path))
        if mount is None:
            raise FailedPrecondition(
                f"{device.path} is not mounted on {record.staging_path} any more: call "
                "NodeUnstageVolume, then NodeStageVolume."
            )
        await self._file_systems.grow_where_smaller(device, file_system, mount)
