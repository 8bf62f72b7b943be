"""What a storage host tells of itself. Sizes are bytes."""

from dataclasses import dataclass

from csi_lvm_iscsi.model.volumes import Pool


@dataclass(frozen=True, slots=True)
class VolumeGroupSpace:
    """A volume group, and the space in it."""

    name: str
    uuid: str
    size_bytes: int
    free_bytes: int
    """Of extents that no logical volume has."""


@dataclass(frozen=True, slots=True)
class HostStatus:
    """What a storage host is and has, as of its last look."""

    host: str
    version: str
    """Of the driver there."""

    volume_groups: tuple[VolumeGroupSpace, ...]
    pools: tuple[Pool, ...]
    portals: tuple[str, ...]
    volumes: int
    published_volumes: int
    problems: tuple[str, ...] = ()
    """What keeps the host from its work: sentences that say what to do."""
