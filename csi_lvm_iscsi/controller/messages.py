"""CSI's messages about volumes and snapshots, and pages of them."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from google.protobuf import timestamp_pb2

from csi_lvm_iscsi.controller.placement import Reach
from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.model.errors import Aborted, InvalidArgument
from csi_lvm_iscsi.model.volumes import Snapshot, Volume
from csi_lvm_iscsi.rpc.pb import csi_pb2


class _Listed(Protocol):
    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=_Listed)


def page(listed: Sequence[T], starting_token: str, max_entries: int) -> tuple[Sequence[T], str]:
    """What comes after the one that the token names, and the token of the next page.

    A token is the id of the last one shown: it stays good while others come and go. Raises
    Aborted, as CSI has it, for what is no token.
    """
    if max_entries < 0:
        raise InvalidArgument("max_entries cannot be negative.")
    if starting_token and not names.is_volume_id(starting_token):
        raise Aborted("The starting_token is not one that this driver gave: list from the start.")
    rest = [each for each in listed if each.id > starting_token]
    if not max_entries or len(rest) <= max_entries:
        return rest, ""
    return rest[:max_entries], rest[max_entries - 1].id


def source_id_of(request: csi_pb2.CreateVolumeRequest) -> str:
    """The snapshot or volume that a new volume begins with; empty: none."""
    if not request.HasField("volume_content_source"):
        return ""
    source = request.volume_content_source
    source_id = source.snapshot.snapshot_id or source.volume.volume_id
    if not source_id:
        raise InvalidArgument(
            "The volume_content_source names no snapshot and no volume: name one, or remove it."
        )
    return source_id


def reach_of(requirement: csi_pb2.TopologyRequirement) -> Reach:
    """The zones that a CO asks for. A topology that is no zone of ours is none that we can meet."""
    requisite = tuple(filter(None, map(zone_of, requirement.requisite)))
    return Reach(
        preferred=tuple(filter(None, map(zone_of, requirement.preferred))),
        requisite=requisite if requirement.requisite else None,
    )


def zone_of(topology: csi_pb2.Topology) -> str:
    """The zone that a topology is; empty where it is something else."""
    segments = dict(topology.segments)
    zone = segments.pop(names.ZONE_KEY, "")
    return "" if segments else zone


def volume_message(volume: Volume, zone: str = "") -> csi_pb2.Volume:
    """A volume, in this zone (empty: there are none)."""
    return csi_pb2.Volume(
        volume_id=volume.id,
        capacity_bytes=volume.size_bytes,
        accessible_topology=[csi_pb2.Topology(segments={names.ZONE_KEY: zone})] if zone else [],
        content_source=_content_source(volume.source_id) if volume.source_id else None,
    )


def volume_entry(volume: Volume, zone: str = "") -> csi_pb2.ListVolumesResponse.Entry:
    """A volume in a list, with the nodes that it is published to."""
    return csi_pb2.ListVolumesResponse.Entry(
        volume=volume_message(volume, zone),
        status=csi_pb2.ListVolumesResponse.VolumeStatus(published_node_ids=volume.node_ids),
    )


def snapshot_message(snapshot: Snapshot) -> csi_pb2.Snapshot:
    """A snapshot. It can be used as soon as it was taken."""
    return csi_pb2.Snapshot(
        snapshot_id=snapshot.id,
        source_volume_id=snapshot.volume_id,
        size_bytes=snapshot.size_bytes,
        creation_time=timestamp_pb2.Timestamp(seconds=snapshot.created_seconds),
        ready_to_use=True,
    )


def _content_source(source_id: str) -> csi_pb2.VolumeContentSource:
    source = csi_pb2.VolumeContentSource
    if names.is_snapshot_id(source_id):
        return source(snapshot=source.SnapshotSource(snapshot_id=source_id))
    return source(volume=source.VolumeSource(volume_id=source_id))
