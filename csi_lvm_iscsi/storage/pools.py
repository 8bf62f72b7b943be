"""The room for volumes: what the pools of this host have, and what may still be promised of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from csi_lvm_iscsi.model import sizes
from csi_lvm_iscsi.model.errors import DriverError, NotFound, OutOfRange, OutOfSpace
from csi_lvm_iscsi.model.volumes import Pool
from csi_lvm_iscsi.storage.catalog import Catalog


@dataclass(frozen=True, slots=True)
class Place:
    """Where volumes are made: a thin pool, or (an empty name) a volume group's free extents."""

    volume_group: str
    thin_pool: str

    @classmethod
    def parse(cls, full_name: str) -> "Place":
        """Read VG/POOL or VG."""
        volume_group, _, thin_pool = full_name.partition("/")
        return cls(volume_group, thin_pool)

    def __str__(self) -> str:
        return f"{self.volume_group}/{self.thin_pool}" if self.thin_pool else self.volume_group


class Pools:
    """The places of this host, and the room in them."""

    def __init__(self, catalog: Catalog, places: Sequence[Place], over_provision: float) -> None:
        """`over_provision`: how many times the size of a thin pool may be promised."""
        self._catalog = catalog
        self._places = tuple(places)
        self._over_provision = over_provision

    def all(self) -> list[Pool]:
        """All places: written as of the last report, promised as of now."""
        return [self._pool(place) for place in self._places]

    def check_room(self, place: Place, size_bytes: int, has: int = 0) -> None:
        """Raise unless a volume of this size, which `has` some of it already, can be made: NotFound
        where the place is not served, OutOfRange where it never can, OutOfSpace where not now."""
        if place not in self._places:
            raise NotFound(
                f"This storage host makes no volumes in {place}: it serves "
                f"{', '.join(map(str, self._places))}."
            )
        pool = self._pool(place)
        if size_bytes > pool.size_bytes:
            raise OutOfRange(
                f"The volume asked for, {sizes.human(size_bytes)}, is larger than all of {place}, "
                f"{sizes.human(pool.size_bytes)}: ask for less, or extend it."
            )
        if pool.stopped:
            raise OutOfSpace(pool.stopped)
        if size_bytes - has > pool.available_bytes:
            raise OutOfSpace(_no_room(place, size_bytes - has, pool))

    def _pool(self, place: Place) -> Pool:
        return self._thin(place) if place.thin_pool else self._thick(place)

    def _thin(self, place: Place) -> Pool:
        group = self._catalog.group(place.volume_group)
        pool = self._catalog.pool(place.volume_group, place.thin_pool)
        provisioned = sum(
            each.size_bytes
            for each in self._catalog.volumes()
            if Place(each.volume_group, each.thin_pool) == place
        )
        available = max(0, int(pool.size_bytes * self._over_provision) - provisioned)
        return Pool(
            volume_group=group.name,
            volume_group_uuid=group.uuid,
            thin_pool=pool.name,
            size_bytes=pool.size_bytes,
            free_bytes=round(pool.size_bytes * (100 - pool.data_percent) / 100),
            provisioned_bytes=provisioned,
            available_bytes=available,
            maximum_volume_bytes=min(available, pool.size_bytes),
            data_percent=pool.data_percent,
            metadata_percent=pool.metadata_percent,
        )

    def _thick(self, place: Place) -> Pool:
        group = self._catalog.group(place.volume_group)
        taken = sum(
            each.size_bytes
            for each in self._catalog.volumes()
            if Place(each.volume_group, each.thin_pool) == place
        )
        reclaiming = sum(
            each.size_bytes for of, each in self._catalog.waste() if of.name == group.name
        )
        return Pool(
            volume_group=group.name,
            volume_group_uuid=group.uuid,
            thin_pool="",
            size_bytes=group.free_bytes + taken + reclaiming,
            free_bytes=group.free_bytes,
            provisioned_bytes=taken,
            available_bytes=group.free_bytes,
            maximum_volume_bytes=group.free_bytes,
            reclaiming_bytes=reclaiming,
        )


def _no_room(place: Place, size_bytes: int, pool: Pool) -> str:
    text = (
        f"There is no room for {sizes.human(size_bytes)} in {place}: "
        f"{sizes.human(pool.available_bytes)} are left to promise"
    )
    if pool.reclaiming_bytes:
        text += f", and {sizes.human(pool.reclaiming_bytes)} of deleted volumes are being wiped"
    return f"{text}. Delete volumes, or add a disk (`vgextend VG DISK`), or call again later."


def check_places(catalog: Catalog, places: Sequence[Place]) -> None:
    """Raise DriverError unless these are there and safe to serve."""
    for place in places:
        if not place.thin_pool:
            catalog.group(place.volume_group)
            continue
        pool = catalog.pool(place.volume_group, place.thin_pool)
        if not pool.zeroes:
            raise DriverError(
                f"Thin pool {place} does not zero new blocks, so a volume could show what another "
                f"tenant wrote. Run `lvchange --zero y {place}`."
            )
        if not pool.fails_when_full:
            raise DriverError(
                f"Thin pool {place} holds writes back when it is full, which would block tgtd and "
                f"every volume with it. Run `lvchange --errorwhenfull y {place}`."
            )
