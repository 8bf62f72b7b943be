"""Volumes, snapshots and pools, as the storage host tells of them. Sizes are bytes."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume: a logical volume of one storage host."""

    id: str
    name: str
    size_bytes: int
    node_ids: tuple[str, ...] = ()
    """The nodes that it is published to."""

    volume_group: str = ""
    thin_pool: str = ""
    """Empty: a thick volume."""

    source_id: str = ""
    """The snapshot or volume whose data it began with; empty: none."""

    copying: bool = False
    """Whether data is still being copied into it."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot of a volume, on the volume's storage host."""

    id: str
    name: str
    volume_id: str
    size_bytes: int
    """Of a volume restored from it."""

    created_seconds: int
    """When it was taken: seconds since 1970."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Where volumes of one kind come from: a thin pool, or a volume group's free extents."""

    volume_group: str
    volume_group_uuid: str
    thin_pool: str
    """Empty: thick volumes, of the free extents."""

    size_bytes: int
    free_bytes: int
    """What is not yet written (thin), or not taken (thick)."""

    provisioned_bytes: int
    """The sum of the sizes promised to volumes."""

    available_bytes: int
    """What new volumes may still take together; 0 while a threshold stops them."""

    maximum_volume_bytes: int
    """The largest volume that can be made now."""

    reclaiming_bytes: int = 0
    """Of deleted thick volumes, being wiped."""

    data_percent: float = 0.0
    metadata_percent: float = 0.0
    """Used parts of a thin pool, 0 to 100."""

    stopped: str = ""
    """Why nothing is provisioned here; empty where it is."""

    @property
    def name(self) -> str:
        """VG/POOL, or VG: as it is given to the storage role."""
        return f"{self.volume_group}/{self.thin_pool}" if self.thin_pool else self.volume_group
