"""Volumes and the space they take, as the storage host tells of them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume: a logical volume of one storage host."""

    id: str
    name: str
    size_bytes: int
    node_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Capacity:
    """The space of one storage host, in bytes."""

    host: str
    volume_group_uuid: str
    size_bytes: int
    free_bytes: int
    provisioned_bytes: int

    @property
    def unpromised_bytes(self) -> int:
        """What would be left if every volume were written full; below 0 when over-provisioned."""
        return self.size_bytes - self.provisioned_bytes
