"""Volumes and snapshots as LVM stores them: the tags on their logical volumes, in both directions.

LVM is their only record, so all that must be known of one is in its tags.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.model.errors import FailedPrecondition
from csi_lvm_iscsi.storage.report import LogicalVolume, VolumeGroup

TAG = "csi-lvm-iscsi:"
UNFINISHED = f"{TAG}unfinished"
"""On a volume whose data is not all in it yet."""

WASTE_PREFIX = "wipe-"
"""Of the names of logical volumes that are deleted, and wiped before they are removed."""


@dataclass(frozen=True, slots=True)
class StoredVolume:
    """A volume and the logical volume that it is."""

    id: str
    name: str
    size_bytes: int
    volume_group: str
    thin_pool: str
    """Empty: a thick volume."""

    logical_volume: str
    """Its id, unless it was adopted."""

    source_id: str
    """The snapshot or volume whose data it began with; empty: none."""

    unfinished: bool

    def check_finished(self) -> None:
        """Raise FailedPrecondition while not all its data is in it."""
        if self.unfinished:
            raise FailedPrecondition(
                f"Volume {self.id} is still being made of {self.source_id}: call CreateVolume "
                "until it says that it is done."
            )


@dataclass(frozen=True, slots=True)
class StoredSnapshot:
    """A snapshot and the logical volume that it is."""

    id: str
    name: str
    volume_id: str
    """The volume that it is of."""

    size_bytes: int
    """Of the volume when it was taken."""

    created_seconds: int
    volume_group: str
    thin_pool: str
    logical_volume: str
    internal: bool
    """Whether it is ours, taken to copy a volume."""


def volume_tags(
    name: str, origin: Mapping[str, str], source_id: str = "", *, unfinished: bool = False
) -> list[str]:
    """The tags of a volume. `origin`: what it is for (pv, pvc, namespace)."""
    fields = {"name": name, **origin}
    if source_id:
        fields["source"] = source_id
    return [*_tags(fields), *([UNFINISHED] if unfinished else [])]


def snapshot_tags(snapshot: StoredSnapshot) -> list[str]:
    """The tags of a snapshot."""
    fields = {
        "snapshot": snapshot.name,
        "of": snapshot.volume_id,
        "size": str(snapshot.size_bytes),
        "taken": str(snapshot.created_seconds),
    }
    return [*_tags(fields), *([f"{TAG}internal"] if snapshot.internal else [])]


def volume_in(group: VolumeGroup, logical_volume: LogicalVolume) -> StoredVolume | None:
    """The volume that a logical volume is; None where it is none of ours, or deleted."""
    fields = _fields(logical_volume)
    if "name" not in fields or is_waste(logical_volume):
        return None
    return StoredVolume(
        id=names.volume_id(group.uuid, fields["name"]),
        name=fields["name"],
        size_bytes=logical_volume.size_bytes,
        volume_group=group.name,
        thin_pool=logical_volume.thin_pool,
        logical_volume=logical_volume.name,
        source_id=fields.get("source", ""),
        unfinished=UNFINISHED in logical_volume.tags,
    )


def snapshot_in(group: VolumeGroup, logical_volume: LogicalVolume) -> StoredSnapshot | None:
    """The snapshot that a logical volume is; None where it is none of ours, or deleted."""
    fields = _fields(logical_volume)
    if "snapshot" not in fields or is_waste(logical_volume):
        return None
    return StoredSnapshot(
        id=names.snapshot_id(group.uuid, fields["snapshot"]),
        name=fields["snapshot"],
        volume_id=fields["of"],
        size_bytes=int(fields["size"]),
        created_seconds=int(fields["taken"]),
        volume_group=group.name,
        thin_pool=logical_volume.thin_pool,
        logical_volume=logical_volume.name,
        internal="internal" in fields,
    )


def is_waste(logical_volume: LogicalVolume) -> bool:
    """Whether it is a deleted volume or snapshot of ours, to be wiped and removed.

    One without our tags is somebody else's, whatever its name.
    """
    return logical_volume.name.startswith(WASTE_PREFIX) and is_ours(logical_volume)


def is_ours(logical_volume: LogicalVolume) -> bool:
    """Whether it is a volume or snapshot of ours, deleted or not."""
    return bool(_fields(logical_volume))


def is_snapshot(logical_volume: LogicalVolume) -> bool:
    """Whether it is a snapshot of ours, deleted or not."""
    return "snapshot" in _fields(logical_volume)


def _tags(fields: Mapping[str, str]) -> Iterable[str]:
    return [f"{TAG}{key}={names.encode_tag(text)}" for key, text in fields.items()]


def _fields(logical_volume: LogicalVolume) -> dict[str, str]:
    """The fields in our tags: `csi-lvm-iscsi:KEY=TEXT`, or KEY alone."""
    pairs = (
        tag.removeprefix(TAG).partition("=") for tag in logical_volume.tags if tag.startswith(TAG)
    )
    return {key: names.decode_tag(text) for key, _, text in pairs}
