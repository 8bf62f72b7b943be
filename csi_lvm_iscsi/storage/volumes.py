"""The volumes of this host. LVM is their only record; what is here is a copy of its report.

The copy makes finding and publishing a volume cost no process. It is read at start and each
minute, and again whenever lvm contradicts it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from csi_lvm_iscsi.model import names, sizes
from csi_lvm_iscsi.model.errors import (
    AlreadyExists,
    DriverError,
    FailedPrecondition,
    NotFound,
    OutOfRange,
    Unavailable,
)
from csi_lvm_iscsi.model.volumes import Pool
from csi_lvm_iscsi.storage.lvm import LogicalVolume, Lvm, Report

_log = structlog.get_logger()
_TAG = "csi-lvm-iscsi:"
_NAME_TAG = f"{_TAG}name="
_SECTOR_BYTES = 512
_REPORTS = 5


@dataclass(frozen=True, slots=True)
class StoredVolume:
    """A volume and the logical volume that it is."""

    id: str
    name: str
    size_bytes: int
    volume_group: str
    thin_pool: str


@dataclass(frozen=True, slots=True)
class Device:
    """The block device of a volume on this host."""

    path: str
    size_bytes: int


class Volumes:
    """Creates, finds and deletes volumes. Callers hold the volume (`model.in_flight`)."""

    def __init__(self, lvm: Lvm, host: str, device_root: Path) -> None:
        self._lvm = lvm
        self._host = host
        self._root = device_root
        self._report: Report | None = None
        self._volumes: dict[str, StoredVolume] = {}
        self._changes = 0

    async def refresh(self) -> None:
        """Read LVM's report. Raises DriverError where volumes could not be served from it.

        A report that was under way while a volume was made or removed may be older than that: it
        is read again.
        """
        for _ in range(_REPORTS):
            changes = self._changes
            report = await self._lvm.report()
            if changes == self._changes:
                break
        else:
            return  # so much changes here that what we remember is newer than any report
        _check_pool(report, f"{self._lvm.volume_group}/{self._lvm.pool}")
        self._report = report
        self._volumes = {
            volume.id: volume
            for volume in map(self._volume_of, report.logical_volumes)
            if volume is not None
        }

    def all(self) -> list[StoredVolume]:
        """All volumes, in the order of their ids."""
        return [self._volumes[key] for key in sorted(self._volumes)]

    def get(self, volume_id: str) -> StoredVolume:
        """One volume. Raises NotFound."""
        try:
            return self._volumes[volume_id]
        except KeyError:
            raise NotFound(
                f"There is no volume {volume_id} on storage host {self._host}."
            ) from None

    def id_of(self, name: str) -> str:
        """The id that a volume of this CSI name has on this host."""
        return names.volume_id(self._known().uuid, name)

    def pools(self) -> list[Pool]:
        """The space in the pool: written as of the last report, promised as of now."""
        report = self._known()
        provisioned = sum(volume.size_bytes for volume in self._volumes.values())
        return [
            Pool(
                volume_group=self._lvm.volume_group,
                volume_group_uuid=report.uuid,
                thin_pool=self._lvm.pool,
                size_bytes=report.pool_bytes,
                free_bytes=report.pool_bytes - report.pool_used_bytes,
                provisioned_bytes=provisioned,
                available_bytes=report.pool_bytes - provisioned,
                maximum_volume_bytes=report.pool_bytes,
            )
        ]

    async def create(
        self, name: str, required: int, limit: int, origin: Mapping[str, str]
    ) -> StoredVolume:
        """Make the volume `name`, or answer with the one that exists.

        Raises AlreadyExists where it exists in a size that does not fit, OutOfRange where the pool
        could not hold it even when empty, InvalidArgument for a name or size that CSI forbids.
        """
        names.check_volume_name(name)
        report = self._known()
        size = sizes.volume_size(required, limit, report.extent_bytes)
        volume_id = self.id_of(name)
        if volume_id not in self._volumes:
            _check_pool_could_hold(size, report)
            tags = [f"{_NAME_TAG}{names.encode_tag(name)}"]
            tags += [f"{_TAG}{key}={names.encode_tag(text)}" for key, text in origin.items()]
            await self._make(self._stored(volume_id, name, size), tags)
        return self._existing(volume_id, required, limit)

    async def _make(self, volume: StoredVolume, tags: list[str]) -> None:
        try:
            made = await self._lvm.create_thin(volume.id, volume.size_bytes, tags)
        except DriverError:
            await self.refresh()  # it may have been made all the same
            raise
        if made:
            self._volumes[volume.id] = volume
            self._changes += 1
        else:
            await self.refresh()

    async def delete(self, volume_id: str) -> None:
        """Remove the volume; gone already is fine. Raises FailedPrecondition where it is open.

        A logical volume without our tag is never removed, whatever its name.
        """
        if volume_id not in self._volumes:
            await self.refresh()
        if volume_id not in self._volumes:
            return
        if not await self._lvm.remove(volume_id):
            raise FailedPrecondition(
                f"Volume {volume_id} is open on storage host {self._host}, though it is not "
                f"exported: see `lsof /dev/{self._lvm.volume_group}/{volume_id}` there."
            )
        self._volumes.pop(volume_id, None)
        self._changes += 1

    async def expand(self, volume_id: str, required: int, limit: int) -> StoredVolume:
        """Grow the volume to at least `required` bytes; one that is as large already is left.

        Raises NotFound, OutOfRange where it is larger than the limit, or would be larger than the
        pool.
        """
        volume = self.get(volume_id)
        if limit and volume.size_bytes > limit:
            raise OutOfRange(
                f"Volume {volume_id} has {sizes.human(volume.size_bytes)} already, and cannot "
                f"shrink to {sizes.human(limit)}."
            )
        report = self._known()
        size = sizes.volume_size(max(required, volume.size_bytes), limit, report.extent_bytes)
        if size > volume.size_bytes:
            _check_pool_could_hold(size, report)
            await self._lvm.extend(volume_id, size)
            volume = replace(volume, size_bytes=size)
            self._volumes[volume_id] = volume
            self._changes += 1
        return volume

    def device_path(self, volume_id: str) -> str:
        """Where the block device of a volume is while it is active."""
        return f"/dev/mapper/{names.device_mapper_name(self._lvm.volume_group, volume_id)}"

    async def device(self, volume_id: str) -> Device:
        """The block device of a volume, made active if it was not.

        No process is started where it is active: the kernel's own name and uuid of the device
        tell that it is the logical volume of our group.
        """
        device = self.active_device(volume_id)
        if device is None:
            await self._lvm.activate(volume_id)
            device = self.active_device(volume_id)
        if device is None:
            raise Unavailable(
                f"Volume {volume_id} was activated on storage host {self._host}, but its device "
                "has not appeared: see that udev is running there, then call again."
            )
        return device

    def active_device(self, volume_id: str) -> Device | None:
        """The block device of a volume; None where it is not active."""
        dm_name = names.device_mapper_name(self._lvm.volume_group, volume_id)
        path = self.device_path(volume_id)
        try:
            # The link of udev leads to /dev/dm-N, and N to the device's directory in sysfs.
            kernel_name = (self._root / path.removeprefix("/")).resolve(strict=True).name
            sysfs = self._root / "sys/block" / kernel_name
            shown = (sysfs / "dm/name").read_text().strip()
            uuid = (sysfs / "dm/uuid").read_text().strip()
            sectors = int((sysfs / "size").read_text())
        except OSError:
            return None
        group = self._known().uuid.replace("-", "")
        if shown != dm_name or not uuid.startswith(f"LVM-{group}"):
            return None  # a link that udev has not updated
        return Device(path, sectors * _SECTOR_BYTES)

    def _existing(self, volume_id: str, required: int, limit: int) -> StoredVolume:
        volume = self.get(volume_id)
        if not sizes.fits(volume.size_bytes, required, limit):
            raise AlreadyExists(
                f"Volume {volume.name} exists with {volume.size_bytes} bytes, which is not the "
                f"size asked for. Choose another name, or delete it first."
            )
        return volume

    def _volume_of(self, logical_volume: LogicalVolume) -> StoredVolume | None:
        """The volume that a logical volume is; None where it is none of ours."""
        for tag in logical_volume.tags:
            if tag.startswith(_NAME_TAG):
                name = names.decode_tag(tag.removeprefix(_NAME_TAG))
                return self._stored(logical_volume.name, name, logical_volume.size_bytes)
        return None

    def _stored(self, volume_id: str, name: str, size_bytes: int) -> StoredVolume:
        return StoredVolume(volume_id, name, size_bytes, self._lvm.volume_group, self._lvm.pool)

    def _known(self) -> Report:
        if self._report is None:
            raise Unavailable(f"Storage host {self._host} is still reading its volume group.")
        return self._report


def _check_pool(report: Report, pool: str) -> None:
    if not report.pool_zeroes:
        raise DriverError(
            f"Thin pool {pool} does not zero new blocks, so a volume could show what another "
            f"tenant wrote. Run `lvchange --zero y {pool}`."
        )
    if not report.pool_fails_when_full:
        raise DriverError(
            f"Thin pool {pool} holds writes back when it is full, which would block tgtd and every "
            f"volume with it. Run `lvchange --errorwhenfull y {pool}`."
        )


def _check_pool_could_hold(size: int, report: Report) -> None:
    if size > report.pool_bytes:
        raise OutOfRange(
            f"The volume asked for, {sizes.human(size)}, is larger than the whole thin pool, "
            f"{sizes.human(report.pool_bytes)}: ask for less, or extend the pool."
        )
