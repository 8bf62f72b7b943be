"""The room for volumes: what the pools of this host have, and what may still be promised of it."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from csi_lvm_iscsi.model import sizes
from csi_lvm_iscsi.model.errors import DriverError, NotFound, OutOfRange, OutOfSpace
from csi_lvm_iscsi.model.volumes import Pool
from csi_lvm_iscsi.storage.catalog import Catalog
from csi_lvm_iscsi.storage.report import LogicalVolume, ThinPool, VolumeGroup
from csi_lvm_iscsi.storage.stored import is_ours, is_snapshot, is_waste

# lvm makes nothing in a pool whose metadata has less free than 4 MiB, or than a quarter where that
# is less (lvm2, lib/metadata/thin_manip.c, thin_pool_metadata_min_threshold).
_METADATA_FREE_BYTES = 4 << 20
_METADATA_FREE_PERCENT = 25.0


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


@dataclass(frozen=True, slots=True)
class Limits:
    """How far thin pools are filled. Percents are of a pool's data, and of its metadata."""

    over_provision: float = 10.0
    """How many times the size of a pool may be promised to volumes."""

    stop_at: float = 90.0
    """From here on nothing is made or grown in a pool: the rest is for volumes that live."""

    extend_at: float = 70.0
    """From here on a pool is extended while its volume group has free extents; 100: never."""

    extend_by: float = 20.0
    """By so much of its size."""


class Pools:
    """The places of this host, and the room in them."""

    def __init__(self, catalog: Catalog, places: Sequence[Place], limits: Limits) -> None:
        self._catalog = catalog
        self._places = tuple(places)
        self._limits = limits
        self._expected: dict[tuple[Place, str], int] = {}

    @property
    def thin(self) -> list[Place]:
        """The thin pools among the places."""
        return [place for place in self._places if place.thin_pool]

    def all(self) -> list[Pool]:
        """All places, as of now."""
        return [self._pool(place) for place in self._places]

    def free_bytes(self, volume_group: str) -> int:
        """What of a volume group is neither taken nor about to be, by calls of now."""
        group = self._catalog.group(volume_group)
        return max(0, group.free_bytes - self._coming(Place(volume_group, ""), group))

    @contextlib.contextmanager
    def room(self, place: Place, logical_volume: str, size_bytes: int) -> Iterator[None]:
        """Have room for a logical volume of this size, new or growing, while the context lasts:
        calls at the same time must not all take the same room.

        Raises NotFound where the place is not served, OutOfRange where a volume of this size never
        can be, OutOfSpace where not now.
        """
        self._check_room(place, logical_volume, size_bytes)
        self._expected[place, logical_volume] = size_bytes
        try:
            yield
        finally:
            del self._expected[place, logical_volume]

    def check_open(self, place: Place) -> None:
        """Raise OutOfSpace where a threshold stops that anything is made in a place."""
        if stopped := self._pool(place).stopped:
            raise OutOfSpace(stopped)

    def _check_room(self, place: Place, logical_volume: str, size_bytes: int) -> None:
        if place not in self._places:
            raise NotFound(
                f"This storage host makes no volumes in {place}: it serves "
                f"{', '.join(map(str, self._places))}."
            )
        self.check_open(place)
        pool = self._pool(place)
        if size_bytes > pool.size_bytes:
            raise OutOfRange(
                f"The volume asked for, {sizes.human(size_bytes)}, is larger than all of {place}, "
                f"{sizes.human(pool.size_bytes)}: ask for less, or extend it."
            )
        known = self._catalog.group(place.volume_group).logical_volumes.get(logical_volume)
        more = size_bytes - (known.size_bytes if known else 0)
        if more > pool.available_bytes:
            raise OutOfSpace(_no_room(place, more, pool))

    def _pool(self, place: Place) -> Pool:
        return self._thin(place) if place.thin_pool else self._thick(place)

    def _thin(self, place: Place) -> Pool:
        group = self._catalog.group(place.volume_group)
        pool = self._catalog.pool(place.volume_group, place.thin_pool)
        # Also volumes of others, which are written in the same pool.
        within = [each for each in _within(group, place) if not is_snapshot(each)]
        provisioned = sum(each.size_bytes for each in within) + self._coming(place, group)
        promised = int(pool.size_bytes * self._limits.over_provision)
        stopped = self._why_stopped(place, pool)
        available = 0 if stopped else max(0, promised - provisioned)
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
            stopped=stopped,
        )

    def _thick(self, place: Place) -> Pool:
        group = self._catalog.group(place.volume_group)
        ours = [each for each in _within(group, place) if is_ours(each)]
        reclaiming = sum(each.size_bytes for each in ours if is_waste(each))
        coming = self._coming(place, group)
        available = self.free_bytes(group.name)
        return Pool(
            volume_group=group.name,
            volume_group_uuid=group.uuid,
            thin_pool="",
            size_bytes=group.free_bytes + sum(each.size_bytes for each in ours),
            free_bytes=group.free_bytes,
            provisioned_bytes=coming
            + sum(each.size_bytes for each in ours if not is_waste(each) and not is_snapshot(each)),
            available_bytes=available,
            maximum_volume_bytes=available,
            reclaiming_bytes=reclaiming,
        )

    def _coming(self, place: Place, group: VolumeGroup) -> int:
        """What the calls of now will take, beyond what is known to be there already."""
        known = group.logical_volumes
        return sum(
            max(0, size - (known[name].size_bytes if name in known else 0))
            for (where, name), size in self._expected.items()
            if where == place
        )

    def _why_stopped(self, place: Place, pool: ThinPool) -> str:
        metadata_limit = min(self._limits.stop_at, _metadata_limit(pool))
        for what, percent, limit in (
            ("data", pool.data_percent, self._limits.stop_at),
            ("metadata", pool.metadata_percent, metadata_limit),
        ):
            if percent >= limit:
                free = self._catalog.group(place.volume_group).free_bytes
                return _stopped(place, what, percent, limit, free)
        return ""


def _within(group: VolumeGroup, place: Place) -> list[LogicalVolume]:
    return [each for each in group.logical_volumes.values() if each.thin_pool == place.thin_pool]


def _metadata_limit(pool: ThinPool) -> float:
    free = _METADATA_FREE_BYTES * 100 / max(1, pool.metadata_bytes)
    return 100 - min(_METADATA_FREE_PERCENT, free)


def _stopped(place: Place, what: str, percent: float, limit: float, free_bytes: int) -> str:
    option = "--size" if what == "data" else "--poolmetadatasize"
    return (
        f"Nothing is made in thin pool {place}: {percent:.1f} % of its {what} are used, and from "
        f"{limit:.4g} % on the rest is kept for the volumes that are there. Delete volumes or "
        f"snapshots, or extend it (`lvextend {option} +SIZE {place}`): {place.volume_group} has "
        f"{sizes.human(free_bytes)} free."
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
