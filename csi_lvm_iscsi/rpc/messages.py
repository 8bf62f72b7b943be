"""The messages of proto/storage.proto and the model's values, in both directions."""

from dataclasses import asdict

from csi_lvm_iscsi.model.host_status import HostStatus, VolumeGroupSpace
from csi_lvm_iscsi.model.publications import Publication
from csi_lvm_iscsi.model.volumes import Pool, Snapshot, Volume
from csi_lvm_iscsi.rpc.pb import storage_pb2


def pool_message(pool: Pool) -> storage_pb2.Pool:
    """A pool, for the wire."""
    return storage_pb2.Pool(**asdict(pool))


def pool_of(message: storage_pb2.Pool) -> Pool:
    """A pool, from the wire."""
    return Pool(
        volume_group=message.volume_group,
        volume_group_uuid=message.volume_group_uuid,
        thin_pool=message.thin_pool,
        size_bytes=message.size_bytes,
        free_bytes=message.free_bytes,
        provisioned_bytes=message.provisioned_bytes,
        available_bytes=message.available_bytes,
        maximum_volume_bytes=message.maximum_volume_bytes,
        reclaiming_bytes=message.reclaiming_bytes,
        data_percent=message.data_percent,
        metadata_percent=message.metadata_percent,
        stopped=message.stopped,
    )


def status_message(status: HostStatus) -> storage_pb2.GetStatusResponse:
    """What a host tells of itself, for the wire."""
    return storage_pb2.GetStatusResponse(**asdict(status))


def status_of(message: storage_pb2.GetStatusResponse) -> HostStatus:
    """What a host tells of itself, from the wire."""
    return HostStatus(
        host=message.host,
        version=message.version,
        volume_groups=tuple(
            VolumeGroupSpace(each.name, each.uuid, each.size_bytes, each.free_bytes)
            for each in message.volume_groups
        ),
        pools=tuple(map(pool_of, message.pools)),
        portals=tuple(message.portals),
        volumes=message.volumes,
        published_volumes=message.published_volumes,
        problems=tuple(message.problems),
    )


def volume_message(volume: Volume) -> storage_pb2.Volume:
    """A volume, for the wire."""
    return storage_pb2.Volume(**asdict(volume))


def volume_of(message: storage_pb2.Volume) -> Volume:
    """A volume, from the wire."""
    return Volume(
        id=message.id,
        name=message.name,
        size_bytes=message.size_bytes,
        node_ids=tuple(message.node_ids),
        volume_group=message.volume_group,
        thin_pool=message.thin_pool,
        source_id=message.source_id,
        copying=message.copying,
    )


def snapshot_message(snapshot: Snapshot) -> storage_pb2.Snapshot:
    """A snapshot, for the wire."""
    return storage_pb2.Snapshot(**asdict(snapshot))


def snapshot_of(message: storage_pb2.Snapshot) -> Snapshot:
    """A snapshot, from the wire."""
    return Snapshot(
        id=message.id,
        name=message.name,
        volume_id=message.volume_id,
        size_bytes=message.size_bytes,
        created_seconds=message.created_seconds,
    )


def publication_message(publication: Publication) -> storage_pb2.Publication:
    """A publication, for the wire."""
    return storage_pb2.Publication(**asdict(publication))


def publication_of(message: storage_pb2.Publication) -> Publication:
    """A publication, from the wire."""
    return Publication(
        volume_id=message.volume_id,
        node_id=message.node_id,
        target=message.target,
        portals=tuple(message.portals),
        lun=message.lun,
        serial=message.serial,
        size_bytes=message.size_bytes,
        nonce=message.nonce,
        key_id=message.key_id,
        read_only=message.read_only,
    )
