"""The service of proto/storage.proto: protobuf to model and back, one operation per volume."""

from grpc import aio
from prometheus_client import CollectorRegistry

from csi_lvm_iscsi.commands.runner import Runner
from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.model.errors import NotFound
from csi_lvm_iscsi.model.in_flight import InFlight
from csi_lvm_iscsi.model.volumes import Snapshot, Volume
from csi_lvm_iscsi.rpc import messages, metrics, server, tls
from csi_lvm_iscsi.rpc.addressee import AddresseeInterceptor
from csi_lvm_iscsi.rpc.pb import storage_pb2, storage_pb2_grpc
from csi_lvm_iscsi.storage.metrics import storage_metrics
from csi_lvm_iscsi.storage.pools import Place, check_places
from csi_lvm_iscsi.storage.portals import Portals
from csi_lvm_iscsi.storage.status import status_of
from csi_lvm_iscsi.storage.stored import StoredSnapshot, StoredVolume
from csi_lvm_iscsi.storage.tgt.socket import ManagementSocket
from csi_lvm_iscsi.storage.tgt.target import Tgtd
from csi_lvm_iscsi.storage.tgt.version import RunningVersion
from csi_lvm_iscsi.storage.upkeep import Upkeep
from csi_lvm_iscsi.storage.volumes import Wanted
from csi_lvm_iscsi.storage.wiring import Parts, Settings, wire


async def serve(settings: Settings, runner: Runner, registry: CollectorRegistry) -> None:
    """Run the role until it is told to end. Raises DriverError where the volume groups cannot be
    served or another instance runs."""
    management = ManagementSocket()
    version = RunningVersion(runner)
    parts = wire(settings, runner, Tgtd(management, discards=version.discards))
    await parts.catalog.refresh()
    check_places(parts.catalog, settings.places)
    settings.portals.refresh()
    in_flight = InFlight()
    upkeep = Upkeep(
        management,
        version,
        parts.publications,
        parts.exports,
        in_flight=in_flight,
        refresh_volumes=parts.catalog.refresh,
    )
    metrics.register(
        registry,
        lambda: storage_metrics(
            parts.pools.all(), len(parts.publications.published()), upkeep.state
        ),
    )
    service = StorageService(settings.host, parts, settings.portals, upkeep, in_flight)

    def add_services(grpc_server: aio.Server) -> None:
        storage_pb2_grpc.add_StorageServicer_to_server(service, grpc_server)

    credentials = tls.server_credentials(settings.tls_directory)
    beside = (upkeep.run, parts.wiper.run, parts.extender.run)
    await server.serve(
        settings.listen,
        add_services,
        registry,
        credentials,
        beside=beside,
        interceptors=[AddresseeInterceptor(settings.host)],
    )


class StorageService(storage_pb2_grpc.StorageServicer):
    """The verbs of a storage host."""

    def __init__(
        self, host: str, parts: Parts, portals: Portals, upkeep: Upkeep, in_flight: InFlight
    ) -> None:
        self._host = host
        self._parts = parts
        self._portals = portals
        self._catalog = parts.catalog
        self._pools = parts.pools
        self._volumes = parts.volumes
        self._snapshots = parts.snapshots
        self._sources = parts.sources
        self._publications = parts.publications
        self._upkeep = upkeep
        self._in_flight = in_flight

    async def GetStatus(
        self, request: storage_pb2.GetStatusRequest, context: object
    ) -> storage_pb2.GetStatusResponse:
        """What this host is and has."""
        status = status_of(self._host, self._parts, self._portals, self._upkeep.state)
        return messages.status_message(status)

    async def GetCapacity(
        self, request: storage_pb2.GetCapacityRequest, context: object
    ) -> storage_pb2.GetCapacityResponse:
        """The pools, and the space in them."""
        pools = [messages.pool_message(each) for each in self._pools.all()]
        return storage_pb2.GetCapacityResponse(host=self._host, pools=pools)

    async def CreateVolume(
        self, request: storage_pb2.CreateVolumeRequest, context: object
    ) -> storage_pb2.Volume:
        """Make a volume."""
        names.check_name(request.name)
        wanted = Wanted(
            name=request.name,
            required=request.required_bytes,
            limit=request.limit_bytes,
            place=Place(request.volume_group, request.thin_pool),
            origin=request.origin,
            source_id=request.source_id,
            source_bytes=request.source_bytes,
        )
        source = messages.publication_of(request.source) if request.HasField("source") else None
        async with self._in_flight.call(self._volumes.id_of(wanted), "CreateVolume"):
            return self._message(await self._sources.create(wanted, source))

    async def DeleteVolume(
        self, request: storage_pb2.DeleteVolumeRequest, context: object
    ) -> storage_pb2.DeleteVolumeResponse:
        """Remove a volume that no node has. One that is being copied from another host stays until
        what that host lent is taken back: it is the only record of that."""
        volume_id, source_id, kept = request.volume_id, "", False
        if names.is_volume_id(volume_id):
            await self._catalog.look_for(volume_id)
            await self._upkeep.ready()
            async with self._in_flight.call(volume_id, "DeleteVolume"):
                await self._publications.ensure_unpublished(volume_id)
                if self._catalog.has_volume(volume_id):
                    source_id = self._catalog.volume(volume_id).source_id
                    kept = self._sources.is_borrowing(volume_id) and not request.source_taken_back
                await self._sources.abandon(volume_id)
                if not kept:
                    await self._volumes.delete(volume_id)
        return storage_pb2.DeleteVolumeResponse(source_id=source_id, kept=kept)

    async def GetVolume(
        self, request: storage_pb2.GetVolumeRequest, context: object
    ) -> storage_pb2.Volume:
        """Find a volume. One that is being made is neither there nor not."""
        try:
            volume = self._catalog.volume(request.volume_id)
        except NotFound:
            async with self._in_flight.call(request.volume_id, "GetVolume"):
                raise
        return self._message(volume)

    async def ListVolumes(
        self, request: storage_pb2.ListVolumesRequest, context: object
    ) -> storage_pb2.ListVolumesResponse:
        """All volumes with the nodes that have them."""
        return storage_pb2.ListVolumesResponse(volumes=map(self._message, self._catalog.volumes()))

    async def ExpandVolume(
        self, request: storage_pb2.ExpandVolumeRequest, context: object
    ) -> storage_pb2.Volume:
        """Grow a volume, and make its exports show it."""
        await self._catalog.look_for(request.volume_id)
        await self._upkeep.ready()
        async with self._in_flight.call(request.volume_id, "ExpandVolume"):
            volume = await self._volumes.expand(
                request.volume_id, request.required_bytes, request.limit_bytes
            )
            await self._publications.restore(volume.id)
            return self._message(volume)

    async def PublishVolume(
        self, request: storage_pb2.PublishVolumeRequest, context: object
    ) -> storage_pb2.Publication:
        """Export a volume to a node."""
        await self._catalog.look_for(request.volume_id)
        await self._upkeep.ready()
        async with self._in_flight.call(request.volume_id, "PublishVolume"):
            publication = await self._publications.publish(
                request.volume_id,
                request.node_id,
                read_only=request.read_only,
                shared=request.shared,
            )
            return messages.publication_message(publication)

    async def UnpublishVolume(
        self, request: storage_pb2.UnpublishVolumeRequest, context: object
    ) -> storage_pb2.UnpublishVolumeResponse:
        """Fence a node, or all, off a volume."""
        if names.is_volume_id(request.volume_id):
            await self._upkeep.ready()
            async with self._in_flight.call(request.volume_id, "UnpublishVolume"):
                await self._publications.unpublish(request.volume_id, request.node_id)
        return storage_pb2.UnpublishVolumeResponse()

    async def CreateSnapshot(
        self, request: storage_pb2.CreateSnapshotRequest, context: object
    ) -> storage_pb2.Snapshot:
        """Take a snapshot."""
        names.check_name(request.name, "snapshot")
        await self._catalog.look_for(request.volume_id)
        snapshot_id = self._snapshots.id_of(request.name, request.volume_id)
        async with (
            self._in_flight.call(request.volume_id, "CreateSnapshot"),
            self._in_flight.call(snapshot_id, "CreateSnapshot"),
        ):
            snapshot = await self._snapshots.ensure(
                request.name, request.volume_id, internal=request.internal
            )
            return _snapshot_message(snapshot)

    async def DeleteSnapshot(
        self, request: storage_pb2.DeleteSnapshotRequest, context: object
    ) -> storage_pb2.DeleteSnapshotResponse:
        """Remove a snapshot that nothing is made of."""
        if names.is_snapshot_id(request.snapshot_id):
            await self._upkeep.ready()
            async with self._in_flight.call(request.snapshot_id, "DeleteSnapshot"):
                self._sources.check_unread(request.snapshot_id)
                await self._publications.ensure_unpublished(request.snapshot_id)
                await self._snapshots.delete(request.snapshot_id)
        return storage_pb2.DeleteSnapshotResponse()

    async def GetSnapshot(
        self, request: storage_pb2.GetSnapshotRequest, context: object
    ) -> storage_pb2.Snapshot:
        """Find a snapshot."""
        return _snapshot_message(self._catalog.snapshot(request.snapshot_id))

    async def ListSnapshots(
        self, request: storage_pb2.ListSnapshotsRequest, context: object
    ) -> storage_pb2.ListSnapshotsResponse:
        """All snapshots but our own."""
        return storage_pb2.ListSnapshotsResponse(
            snapshots=[
                _snapshot_message(each) for each in self._catalog.snapshots() if not each.internal
            ]
        )

    def _message(self, volume: StoredVolume) -> storage_pb2.Volume:
        return messages.volume_message(
            Volume(
                id=volume.id,
                name=volume.name,
                size_bytes=volume.size_bytes,
                node_ids=self._publications.nodes_of(volume.id),
                volume_group=volume.volume_group,
                thin_pool=volume.thin_pool,
                source_id=volume.source_id,
                copying=volume.unfinished,
            )
        )


def _snapshot_message(snapshot: StoredSnapshot) -> storage_pb2.Snapshot:
    return messages.snapshot_message(
        Snapshot(
            id=snapshot.id,
            name=snapshot.name,
            volume_id=snapshot.volume_id,
            size_bytes=snapshot.size_bytes,
            created_seconds=snapshot.created_seconds,
        )
    )
