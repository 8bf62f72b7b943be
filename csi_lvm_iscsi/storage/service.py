"""The service of proto/storage.proto: protobuf to model and back, one operation per volume."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from grpc import aio
from prometheus_client import CollectorRegistry

from csi_lvm_iscsi.commands.runner import Runner
from csi_lvm_iscsi.model import chap, names
from csi_lvm_iscsi.model.errors import NotFound
from csi_lvm_iscsi.model.in_flight import InFlight
from csi_lvm_iscsi.model.volumes import Volume
from csi_lvm_iscsi.rpc import messages, server, tls
from csi_lvm_iscsi.rpc.pb import storage_pb2, storage_pb2_grpc
from csi_lvm_iscsi.storage.exports import Exports
from csi_lvm_iscsi.storage.fencing import Fence
from csi_lvm_iscsi.storage.grants import GrantRecords
from csi_lvm_iscsi.storage.lvm import Lvm
from csi_lvm_iscsi.storage.publications import Publications
from csi_lvm_iscsi.storage.tgt.socket import ManagementSocket
from csi_lvm_iscsi.storage.tgt.target import Tgtd
from csi_lvm_iscsi.storage.upkeep import Upkeep
from csi_lvm_iscsi.storage.volumes import StoredVolume, Volumes


@dataclass(frozen=True, slots=True)
class Settings:
    """What the role is told on its command line."""

    host: str
    listen: str
    tls_directory: Path
    keys: Mapping[str, bytes]
    state_directory: Path
    portals: tuple[str, ...]
    thin_pool: str


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of the role, put together for one host."""

    volumes: Volumes
    exports: Exports
    publications: Publications


def wire(
    settings: Settings,
    runner: Runner,
    tgtd: Tgtd,
    new_nonce: Callable[[], str] = chap.new_nonce,
    device_root: Path = Path("/"),
) -> Parts:
    """Put the parts together."""
    volume_group, _, pool = settings.thin_pool.partition("/")
    volumes = Volumes(Lvm(runner, volume_group, pool), settings.host, device_root)
    exports = Exports(tgtd, Fence(tgtd), settings.portals, settings.keys)
    grants = GrantRecords(settings.state_directory / "grants")
    publications = Publications(
        volumes,
        grants,
        exports,
        portals=settings.portals,
        keys=settings.keys,
        new_nonce=new_nonce,
    )
    return Parts(volumes, exports, publications)


async def serve(settings: Settings, runner: Runner, registry: CollectorRegistry) -> None:
    """Run the role until it is told to end. Raises DriverError where the volume group cannot be
    served or another instance runs."""
    management = ManagementSocket()
    parts = wire(settings, runner, Tgtd(management))
    await parts.volumes.refresh()
    in_flight = InFlight()
    upkeep = Upkeep(management, parts.publications, parts.exports, in_flight, parts.volumes.refresh)
    # Verbs that are not there yet answer UNIMPLEMENTED.
    service = StorageService(  # type: ignore[abstract]
        settings.host, parts.volumes, parts.publications, upkeep, in_flight
    )

    def add_services(grpc_server: aio.Server) -> None:
        storage_pb2_grpc.add_StorageServicer_to_server(service, grpc_server)

    credentials = tls.server_credentials(settings.tls_directory)
    await server.serve(settings.listen, add_services, registry, credentials, upkeep.run)


class StorageService(storage_pb2_grpc.StorageServicer):
    """The verbs of a storage host."""

    def __init__(
        self,
        host: str,
        volumes: Volumes,
        publications: Publications,
        upkeep: Upkeep,
        in_flight: InFlight,
    ) -> None:
        self._host = host
        self._volumes = volumes
        self._publications = publications
        self._upkeep = upkeep
        self._in_flight = in_flight

    async def GetCapacity(
        self, request: storage_pb2.GetCapacityRequest, context: object
    ) -> storage_pb2.GetCapacityResponse:
        """The pools, and the space in them."""
        pools = [messages.pool_message(each) for each in self._volumes.pools()]
        return storage_pb2.GetCapacityResponse(host=self._host, pools=pools)

    async def CreateVolume(
        self, request: storage_pb2.CreateVolumeRequest, context: object
    ) -> storage_pb2.Volume:
        """Make a volume."""
        names.check_volume_name(request.name)
        with self._in_flight.hold(self._volumes.id_of(request.name), "CreateVolume"):
            volume = await self._volumes.create(
                request.name, request.required_bytes, request.limit_bytes, request.origin
            )
            return self._message(volume)

    async def DeleteVolume(
        self, request: storage_pb2.DeleteVolumeRequest, context: object
    ) -> storage_pb2.DeleteVolumeResponse:
        """Remove a volume that no node has."""
        if names.is_volume_id(request.volume_id):
            await self._upkeep.ready()
            with self._in_flight.hold(request.volume_id, "DeleteVolume"):
                await self._publications.delete_volume(request.volume_id)
        return storage_pb2.DeleteVolumeResponse()

    async def GetVolume(
        self, request: storage_pb2.GetVolumeRequest, context: object
    ) -> storage_pb2.Volume:
        """Find a volume. One that is being made is neither there nor not."""
        try:
            volume = self._volumes.get(request.volume_id)
        except NotFound:
            with self._in_flight.hold(request.volume_id, "GetVolume"):
                raise
        return self._message(volume)

    async def ListVolumes(
        self, request: storage_pb2.ListVolumesRequest, context: object
    ) -> storage_pb2.ListVolumesResponse:
        """All volumes with the nodes that have them."""
        return storage_pb2.ListVolumesResponse(volumes=map(self._message, self._volumes.all()))

    async def ExpandVolume(
        self, request: storage_pb2.ExpandVolumeRequest, context: object
    ) -> storage_pb2.Volume:
        """Grow a volume, and make its exports show it."""
        await self._upkeep.ready()
        with self._in_flight.hold(request.volume_id, "ExpandVolume"):
            volume = await self._volumes.expand(
                request.volume_id, request.required_bytes, request.limit_bytes
            )
            await self._publications.restore(volume.id)
            return self._message(volume)

    async def PublishVolume(
        self, request: storage_pb2.PublishVolumeRequest, context: object
    ) -> storage_pb2.Publication:
        """Export a volume to a node."""
        await self._upkeep.ready()
        with self._in_flight.hold(request.volume_id, "PublishVolume"):
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
            with self._in_flight.hold(request.volume_id, "UnpublishVolume"):
                await self._publications.unpublish(request.volume_id, request.node_id)
        return storage_pb2.UnpublishVolumeResponse()

    def _message(self, volume: StoredVolume) -> storage_pb2.Volume:
        return messages.volume_message(
            Volume(
                id=volume.id,
                name=volume.name,
                size_bytes=volume.size_bytes,
                node_ids=self._publications.nodes_of(volume.id),
                volume_group=volume.volume_group,
                thin_pool=volume.thin_pool,
            )
        )
