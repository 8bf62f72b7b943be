"""The volumes of this host: made, grown, deleted. Callers hold the volume (`model.in_flight`)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from csi_lvm_iscsi.model import names, sizes
from csi_lvm_iscsi.model.errors import AlreadyExists, FailedPrecondition, OutOfRange
from csi_lvm_iscsi.storage.catalog import Catalog
from csi_lvm_iscsi.storage.pools import Place, Pools
from csi_lvm_iscsi.storage.report import LogicalVolume
from csi_lvm_iscsi.storage.stored import (
    UNFINISHED,
    WASTE_PREFIX,
    StoredSnapshot,
    StoredVolume,
    volume_tags,
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A volume that is asked for. Sizes are bytes; a limit of 0 is none."""

    name: str
    required: int
    limit: int
    place: Place
    origin: Mapping[str, str]
    source_id: str = ""
    """The snapshot or volume whose data it begins with; empty: none."""

    source_bytes: int = 0
    """The size of that."""


class Volumes:
    """Makes, grows and deletes the logical volumes that are volumes."""

    def __init__(self, catalog: Catalog, pools: Pools, waste_made: Callable[[], None]) -> None:
        """`waste_made` is told when there is something to wipe."""
        self._catalog = catalog
        self._pools = pools
        self._waste_made = waste_made

    def id_of(self, wanted: Wanted) -> str:
        """The id that a volume has, by its name and its volume group."""
        return names.volume_id(self._catalog.group(wanted.place.volume_group).uuid, wanted.name)

    async def ensure(self, wanted: Wanted) -> StoredVolume:
        """Have the volume: made now, or the one that exists. With a source it is made empty, and
        unfinished.

        Raises AlreadyExists where it exists and does not fit, OutOfSpace where there is no room
        now, OutOfRange where there never is, InvalidArgument for what CSI forbids.
        """
        names.check_name(wanted.name)
        volume_id = self.id_of(wanted)
        if not self._catalog.has_volume(volume_id):
            size = self.size_of(wanted)
            await self._make(wanted, volume_id, size)
        return self._existing(volume_id, wanted)

    def size_of(self, wanted: Wanted) -> int:
        """The size that the volume gets. Raises OutOfRange where no volume can have it."""
        extent = self._catalog.group(wanted.place.volume_group).extent_bytes
        if 0 < wanted.limit < wanted.source_bytes:
            raise OutOfRange(
                f"The source has {sizes.human(wanted.source_bytes)}, more than the limit, "
                f"{sizes.human(wanted.limit)}: ask for at least its size."
            )
        if 0 < wanted.required < wanted.source_bytes:
            raise OutOfRange(
                f"The source has {sizes.human(wanted.source_bytes)}, more than the volume asked "
                f"for, {sizes.human(wanted.required)}: ask for at least its size."
            )
        return sizes.volume_size(wanted.required or wanted.source_bytes, wanted.limit, extent)

    async def _make(self, wanted: Wanted, volume_id: str, size: int) -> None:
        place = wanted.place
        lvm = self._catalog.lvm(place.volume_group)
        tags = volume_tags(
            wanted.name, wanted.origin, wanted.source_id, unfinished=bool(wanted.source_id)
        )
        made = LogicalVolume(volume_id, size, tuple(tags), place.thin_pool)
        with self._pools.room(place, volume_id, size):
            if place.thin_pool:
                making = lvm.create_thin(place.thin_pool, volume_id, size, tags)
            else:
                making = lvm.create_thick(volume_id, size, tags)
            await self._catalog.make(place.volume_group, making, made)

    async def clone(self, wanted: Wanted, source: StoredVolume | StoredSnapshot) -> StoredVolume:
        """Have the volume as a snapshot of a thin source in the same pool, which copies nothing.

        Raises as `ensure` does.
        """
        names.check_name(wanted.name)
        place = wanted.place
        volume_id = self.id_of(wanted)
        size = self.size_of(wanted)
        grows = size > wanted.source_bytes
        if not self._catalog.has_volume(volume_id):
            tags = volume_tags(wanted.name, wanted.origin, wanted.source_id, unfinished=grows)
            lvm = self._catalog.lvm(place.volume_group)
            made = LogicalVolume(volume_id, source.size_bytes, tuple(tags), place.thin_pool)
            with self._pools.room(place, volume_id, size):
                making = lvm.snapshot_thin(source.logical_volume, volume_id, tags, writable=True)
                await self._catalog.make(place.volume_group, making, made)
        volume = self._catalog.volume(volume_id)
        _check_same(volume, wanted)
        if volume.unfinished:
            with self._pools.room(place, volume_id, size):
                await self._extend(volume, size)
            await self.finish(volume_id)
        return self._existing(volume_id, wanted)

    async def finish(self, volume_id: str) -> StoredVolume:
        """Take note that all data of the source is in the volume."""
        volume = self._catalog.volume(volume_id)
        if volume.unfinished:
            lvm = self._catalog.lvm(volume.volume_group)
            await lvm.remove_tag(volume.logical_volume, UNFINISHED)
            known = self._logical_volume(volume)
            kept = tuple(tag for tag in known.tags if tag != UNFINISHED)
            self._catalog.put(volume.volume_group, replace(known, tags=kept))
        return self._catalog.volume(volume_id)

    async def expand(self, volume_id: str, required: int, limit: int) -> StoredVolume:
        """Have the logical volume at least this large. Its export is not touched.

        Raises OutOfRange where it is larger than the limit already, FailedPrecondition where
        thick snapshots stand against it.
        """
        volume = self._catalog.volume(volume_id)
        volume.check_finished()
        if sizes.fits(volume.size_bytes, required, limit):
            return volume
        if volume.size_bytes > required:
            raise OutOfRange(
                f"Volume {volume_id} has {sizes.human(volume.size_bytes)} already, which is above "
                f"the limit, {sizes.human(limit)}: volumes do not shrink."
            )
        extent = self._catalog.group(volume.volume_group).extent_bytes
        size = sizes.volume_size(required, limit, extent)
        snapshots = self._catalog.thick_snapshots_of(volume.volume_group, volume.logical_volume)
        if snapshots:
            raise FailedPrecondition(
                f"Volume {volume_id} is thick and has snapshots "
                f"({', '.join(each.name for each in snapshots)}): LVM does not grow the origin of "
                "a copy-on-write snapshot in use. Delete them first."
            )
        place = Place(volume.volume_group, volume.thin_pool)
        with self._pools.room(place, volume.logical_volume, size):
            await self._extend(volume, size)
        return self._catalog.volume(volume_id)

    async def _extend(self, volume: StoredVolume, size: int) -> None:
        if size <= volume.size_bytes:
            return
        await self._catalog.lvm(volume.volume_group).extend(volume.logical_volume, size)
        known = self._logical_volume(volume)
        self._catalog.put(volume.volume_group, replace(known, size_bytes=size))

    async def delete(self, volume_id: str) -> None:
        """Remove the volume; gone already is fine. Raises FailedPrecondition where it is open.

        A thick one is only renamed here: what is in it is wiped before its extents are given to
        others, and that takes long. While it has snapshots it is kept, as they need it.
        """
        if not self._catalog.has_volume(volume_id):
            await self._catalog.refresh()
        if not self._catalog.has_volume(volume_id):
            return
        volume = self._catalog.volume(volume_id)
        await discard(self._catalog, volume)
        self._waste_made()

    def _logical_volume(self, volume: StoredVolume) -> LogicalVolume:
        return self._catalog.group(volume.volume_group).logical_volumes[volume.logical_volume]

    def _existing(self, volume_id: str, wanted: Wanted) -> StoredVolume:
        volume = self._catalog.volume(volume_id)
        if not sizes.fits(volume.size_bytes, wanted.required, wanted.limit):
            raise AlreadyExists(
                f"Volume {volume.name} exists with {volume.size_bytes} bytes, which is not the "
                "size asked for. Choose another name, or delete it first."
            )
        _check_same(volume, wanted)
        return volume


def _check_same(volume: StoredVolume, wanted: Wanted) -> None:
    """Raise AlreadyExists unless a volume is of the kind that is asked for."""
    if volume.source_id != wanted.source_id:
        raise AlreadyExists(
            f"Volume {volume.name} exists, made of {volume.source_id or 'nothing'} and not of "
            f"{wanted.source_id or 'nothing'}. Choose another name, or delete it first."
        )
    if volume.thin_pool != wanted.place.thin_pool:
        raise AlreadyExists(
            f"Volume {volume.name} exists in {volume.thin_pool or 'no pool (thick)'}, not in "
            f"{wanted.place.thin_pool or 'no pool (thick)'}. Choose another name, or delete "
            "it first."
        )


async def discard(catalog: Catalog, stored: StoredVolume | StoredSnapshot) -> None:
    """Remove the logical volume of a volume or snapshot: at once where it is thin, as the pool
    zeroes what it gives out again; else it becomes waste. Raises FailedPrecondition where it is
    open."""
    lvm = catalog.lvm(stored.volume_group)
    name = stored.logical_volume
    if not stored.thin_pool:
        waste = _waste_name(catalog, stored)
        await lvm.rename(name, waste)
        catalog.rename(stored.volume_group, name, waste)
        if isinstance(stored, StoredSnapshot):
            # At once, so that its origin can grow, and be deleted, while the store is wiped.
            await lvm.split_snapshot(waste)
            store = catalog.group(stored.volume_group).logical_volumes[waste]
            parted = replace(store, thick_snapshot=False, origin="")
            catalog.put(stored.volume_group, parted)
        return
    if not await lvm.remove(name):
        raise FailedPrecondition(
            f"{stored.id} is open on its storage host, though it is not exported: see "
            f"`lsof /dev/{stored.volume_group}/{name}` there."
        )
    catalog.drop(stored.volume_group, name)


def _waste_name(catalog: Catalog, stored: StoredVolume | StoredSnapshot) -> str:
    """A name that no other waste has: an earlier volume of the same name may still be wiped."""
    taken = catalog.group(stored.volume_group).logical_volumes
    candidates = (f"{WASTE_PREFIX}{number}.{stored.id}" for number in range(len(taken) + 1))
    return next(name for name in candidates if name not in taken)
