"""The block devices of volumes and snapshots on this host."""

from dataclasses import dataclass
from pathlib import Path

from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.model.errors import NotFound, Unavailable
from csi_lvm_iscsi.storage.catalog import Catalog
from csi_lvm_iscsi.storage.stored import StoredSnapshot, StoredVolume

_SECTOR_BYTES = 512


@dataclass(frozen=True, slots=True)
class Device:
    """The block device of a logical volume."""

    path: str
    size_bytes: int
    discards: bool = False
    """Whether what is discarded of it goes back to its pool. Of a thick one it goes nowhere."""


class Devices:
    """Finds the devices of logical volumes, and makes them active."""

    def __init__(self, catalog: Catalog, root: Path) -> None:
        """`root`: where the host's /dev and /sys are."""
        self._catalog = catalog
        self._root = root

    async def of(self, stored_id: str) -> Device:
        """The device of a volume or snapshot. Raises NotFound, FailedPrecondition for a volume
        that is not finished."""
        stored = self._stored(stored_id)
        if isinstance(stored, StoredVolume):
            stored.check_finished()
        return await self.ensure(stored.volume_group, stored.logical_volume)

    def active(self, stored_id: str) -> Device | None:
        """The device of a volume or snapshot; None where it is not active, or there is none."""
        try:
            stored = self._stored(stored_id)
        except NotFound:
            return None
        return self._active(stored.volume_group, stored.logical_volume)

    async def ensure(self, volume_group: str, logical_volume: str) -> Device:
        """The device of a logical volume, made active if it was not.

        No process is started where it is active: the kernel's own name and uuid of the device
        tell that it is the logical volume of our group.
        """
        device = self._active(volume_group, logical_volume)
        if device is None:
            thin_pool = self._thin_pool(volume_group, logical_volume)
            await self._catalog.lvm(volume_group).activate(logical_volume, thin_pool)
            device = self._active(volume_group, logical_volume)
        if device is None:
            raise Unavailable(
                f"{volume_group}/{logical_volume} was activated on its storage host, but its "
                "device has not appeared: see that udev is running there, then call again."
            )
        return device

    def _stored(self, stored_id: str) -> StoredVolume | StoredSnapshot:
        if names.is_snapshot_id(stored_id):
            return self._catalog.snapshot(stored_id)
        return self._catalog.volume(stored_id)

    def _active(self, volume_group: str, logical_volume: str) -> Device | None:
        shown = path(volume_group, logical_volume)
        try:
            # The link of udev leads to /dev/dm-N, and N to the device's directory in sysfs.
            kernel_name = (self._root / shown.removeprefix("/")).resolve(strict=True).name
            sysfs = self._root / "sys/block" / kernel_name
            name = (sysfs / "dm/name").read_text().strip()
            uuid = (sysfs / "dm/uuid").read_text().strip()
            sectors = int((sysfs / "size").read_text())
            most_discarded = int((sysfs / "queue/discard_max_bytes").read_text())
        except OSError:
            return None
        group = self._catalog.group(volume_group).uuid.replace("-", "")
        if name != Path(shown).name or not uuid.startswith(f"LVM-{group}"):
            return None  # a link that udev has not updated
        thin = bool(self._thin_pool(volume_group, logical_volume))
        return Device(shown, sectors * _SECTOR_BYTES, discards=thin and most_discarded > 0)

    def _thin_pool(self, volume_group: str, logical_volume: str) -> str:
        known = self._catalog.group(volume_group).logical_volumes.get(logical_volume)
        return known.thin_pool if known else ""


def path(volume_group: str, logical_volume: str) -> str:
    """Where the device of a logical volume is while it is active."""
    return f"/dev/mapper/{names.device_mapper_name(volume_group, logical_volume)}"
