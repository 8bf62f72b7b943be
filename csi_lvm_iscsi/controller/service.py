"""CSI Controller: protobuf to model and back."""

import time

from grpc import aio
from prometheus_client import CollectorRegistry

from csi_lvm_iscsi.controller.messages import (
    page,
    reach_of,
    snapshot_message,
    source_id_of,
    volume_entry,
    volume_message,
)
from csi_lvm_iscsi.controller.metrics import controller_metrics
from csi_lvm_iscsi.controller.placement import ANYWHERE, Reach
from csi_lvm_iscsi.controller.snapshots import Snapshots
from csi_lvm_iscsi.controller.volumes import Volumes
from csi_lvm_iscsi.model.access import check_all
from csi_lvm_iscsi.model.errors import InvalidArgument
from csi_lvm_iscsi.model.parameters import Parameters
from csi_lvm_iscsi.rpc import metrics, server
from csi_lvm_iscsi.rpc.capabilities import capability_of
from csi_lvm_iscsi.rpc.identity import IdentityService
from csi_lvm_iscsi.rpc.pb import csi_pb2, csi_pb2_grpc
from csi_lvm_iscsi.storage_client.membership import Membership

_Rpc = csi_pb2.ControllerServiceCapability.RPC
_CAPABILITIES = (
    _Rpc.CREATE_DELETE_VOLUME,
    _Rpc.PUBLISH_UNPUBLISH_VOLUME,
    _Rpc.LIST_VOLUMES,
    _Rpc.LIST_VOLUMES_PUBLISHED_NODES,
    _Rpc.GET_CAPACITY,
    _Rpc.EXPAND_VOLUME,
    _Rpc.PUBLISH_READONLY,
    _Rpc.SINGLE_NODE_MULTI_WRITER,
    _Rpc.CREATE_DELETE_SNAPSHOT,
    _Rpc.LIST_SNAPSHOTS,
    _Rpc.GET_SNAPSHOT,
    _Rpc.CLONE_VOLUME,
)


async def serve(endpoint: str, membership: Membership, registry: CollectorRegistry) -> None:
    """Run the role until it is told to end."""
    # The stubs call unimplemented verbs abstract; gRPC answers UNIMPLEMENTED for them.
    service = ControllerService(  # type: ignore[abstract]
        Volumes(membership), Snapshots(membership), zones=membership.has_zones
    )
    metrics.register(registry, lambda: controller_metrics(membership.known, time.monotonic()))

    def add_services(grpc_server: aio.Server) -> None:
        identity = IdentityService(zones=membership.has_zones, check_ready=membership.check_ready)
        csi_pb2_grpc.add_IdentityServicer_to_server(identity, grpc_server)
        csi_pb2_grpc.add_ControllerServicer_to_server(service, grpc_server)

    await server.serve(endpoint, add_services, registry, beside=[membership.follow])


class ControllerService(csi_pb2_grpc.ControllerServicer):
    """The verbs of CSI Controller that the driver has. The others answer UNIMPLEMENTED."""

    def __init__(self, volumes: Volumes, snapshots: Snapshots, *, zones: bool = False) -> None:
        self._zones = zones
        self._volumes = volumes
        self._snapshots = snapshots

    async def ControllerGetCapabilities(
        self, request: csi_pb2.ControllerGetCapabilitiesRequest, context: object
    ) -> csi_pb2.ControllerGetCapabilitiesResponse:
        """What the controller can do."""
        return csi_pb2.ControllerGetCapabilitiesResponse(
            capabilities=[
                csi_pb2.ControllerServiceCapability(rpc=_Rpc(type=each)) for each in _CAPABILITIES
            ]
        )

    async def CreateVolume(
        self, request: csi_pb2.CreateVolumeRequest, context: object
    ) -> csi_pb2.CreateVolumeResponse:
        """Make a volume."""
        _require(name=request.name)
        check_all(map(capability_of, request.volume_capabilities))
        parameters = Parameters.parse(request.parameters)
        if request.mutable_parameters:
            raise InvalidArgument("Volumes have no mutable parameters: remove them.")
        volume = await self._volumes.create(
            request.name,
            request.capacity_range.required_bytes,
            request.capacity_range.limit_bytes,
            parameters,
            source_id=source_id_of(request),
            reach=self._reach(request.accessibility_requirements),
        )
        return csi_pb2.CreateVolumeResponse(
            volume=volume_message(volume, self._volumes.zone_of(volume.id))
        )

    async def DeleteVolume(
        self, request: csi_pb2.DeleteVolumeRequest, context: object
    ) -> csi_pb2.DeleteVolumeResponse:
        """Remove a volume."""
        _require(volume_id=request.volume_id)
        await self._volumes.delete(request.volume_id)
        return csi_pb2.DeleteVolumeResponse()

    async def ControllerExpandVolume(
        self, request: csi_pb2.ControllerExpandVolumeRequest, context: object
    ) -> csi_pb2.ControllerExpandVolumeResponse:
        """Grow a volume, attached or not."""
        _require(volume_id=request.volume_id)
        if not request.HasField("capacity_range"):
            raise InvalidArgument("The request has no capacity_range; set it.")
        if request.HasField("volume_capability"):
            capability_of(request.volume_capability).check()
        volume = await self._volumes.expand(
            request.volume_id,
            request.capacity_range.required_bytes,
            request.capacity_range.limit_bytes,
        )
        # Of raw block too: the node's kernel reads the size anew only when it is told to.
        return csi_pb2.ControllerExpandVolumeResponse(
            capacity_bytes=volume.size_bytes, node_expansion_required=True
        )

    async def ControllerPublishVolume(
        self, request: csi_pb2.ControllerPublishVolumeRequest, context: object
    ) -> csi_pb2.ControllerPublishVolumeResponse:
        """Export a volume to a node."""
        _require(volume_id=request.volume_id, node_id=request.node_id)
        if not request.HasField("volume_capability"):
            raise InvalidArgument("The request names no volume_capability; name one.")
        capability = capability_of(request.volume_capability)
        capability.check()
        publication = await self._volumes.publish(
            request.volume_id,
            request.node_id,
            read_only=request.readonly or capability.read_only,
            shared=capability.shared,
        )
        return csi_pb2.ControllerPublishVolumeResponse(publish_context=publication.to_context())

    async def ControllerUnpublishVolume(
        self, request: csi_pb2.ControllerUnpublishVolumeRequest, context: object
    ) -> csi_pb2.ControllerUnpublishVolumeResponse:
        """Fence a node off a volume."""
        _require(volume_id=request.volume_id)
        await self._volumes.unpublish(request.volume_id, request.node_id)
        return csi_pb2.ControllerUnpublishVolumeResponse()

    async def ValidateVolumeCapabilities(
        self, request: csi_pb2.ValidateVolumeCapabilitiesRequest, context: object
    ) -> csi_pb2.ValidateVolumeCapabilitiesResponse:
        """Say whether a volume can be used in some ways."""
        _require(volume_id=request.volume_id)
        capabilities = [capability_of(each) for each in request.volume_capabilities]
        if not capabilities:
            raise InvalidArgument("The request names no volume capability; name at least one.")
        await self._volumes.get(request.volume_id)
        try:
            check_all(capabilities)
            Parameters.parse(request.parameters)
        except InvalidArgument as error:
            return csi_pb2.ValidateVolumeCapabilitiesResponse(message=str(error))
        return csi_pb2.ValidateVolumeCapabilitiesResponse(
            confirmed=csi_pb2.ValidateVolumeCapabilitiesResponse.Confirmed(
                volume_context=request.volume_context,
                volume_capabilities=request.volume_capabilities,
                parameters=request.parameters,
            )
        )

    async def ListVolumes(
        self, request: csi_pb2.ListVolumesRequest, context: object
    ) -> csi_pb2.ListVolumesResponse:
        """A page of the volumes, in the order of their ids."""
        shown, following = page(
            await self._volumes.all(), request.starting_token, request.max_entries
        )
        return csi_pb2.ListVolumesResponse(
            entries=[volume_entry(each, self._volumes.zone_of(each.id)) for each in shown],
            next_token=following,
        )

    async def CreateSnapshot(
        self, request: csi_pb2.CreateSnapshotRequest, context: object
    ) -> csi_pb2.CreateSnapshotResponse:
        """Take a snapshot."""
        _require(name=request.name, source_volume_id=request.source_volume_id)
        if request.parameters:
            raise InvalidArgument(
                f"Snapshots have no parameters, but {', '.join(request.parameters)} is given: "
                "remove it from the VolumeSnapshotClass."
            )
        snapshot = await self._snapshots.create(request.name, request.source_volume_id)
        return csi_pb2.CreateSnapshotResponse(snapshot=snapshot_message(snapshot))

    async def DeleteSnapshot(
        self, request: csi_pb2.DeleteSnapshotRequest, context: object
    ) -> csi_pb2.DeleteSnapshotResponse:
        """Remove a snapshot."""
        _require(snapshot_id=request.snapshot_id)
        await self._snapshots.delete(request.snapshot_id)
        return csi_pb2.DeleteSnapshotResponse()

    async def GetSnapshot(
        self, request: csi_pb2.GetSnapshotRequest, context: object
    ) -> csi_pb2.GetSnapshotResponse:
        """Find a snapshot."""
        _require(snapshot_id=request.snapshot_id)
        snapshot = await self._snapshots.get(request.snapshot_id)
        return csi_pb2.GetSnapshotResponse(snapshot=snapshot_message(snapshot))

    async def ListSnapshots(
        self, request: csi_pb2.ListSnapshotsRequest, context: object
    ) -> csi_pb2.ListSnapshotsResponse:
        """A page of the snapshots, in the order of their ids."""
        snapshots = await self._snapshots.all(request.snapshot_id, request.source_volume_id)
        shown, following = page(snapshots, request.starting_token, request.max_entries)
        entry = csi_pb2.ListSnapshotsResponse.Entry
        return csi_pb2.ListSnapshotsResponse(
            entries=[entry(snapshot=snapshot_message(each)) for each in shown],
            next_token=following,
        )

    async def GetCapacity(
        self, request: csi_pb2.GetCapacityRequest, context: object
    ) -> csi_pb2.GetCapacityResponse:
        """The space for new volumes of this kind; none for a kind that there is not."""
        try:
            for capability in map(capability_of, request.volume_capabilities):
                capability.check()
            parameters = Parameters.parse(request.parameters)
        except InvalidArgument:
            return csi_pb2.GetCapacityResponse(available_capacity=0)
        near = csi_pb2.TopologyRequirement()
        if request.accessible_topology.segments:
            near.requisite.append(request.accessible_topology)
        pools = await self._volumes.pools(parameters, self._reach(near))
        response = csi_pb2.GetCapacityResponse(
            available_capacity=sum(each.available_bytes for each in pools)
        )
        # A volume lies in one pool: the sum would promise too much.
        response.maximum_volume_size.value = max(
            (each.maximum_volume_bytes for each in pools), default=0
        )
        return response

    def _reach(self, requirement: csi_pb2.TopologyRequirement) -> Reach:
        return reach_of(requirement) if self._zones else ANYWHERE


def _require(**fields: str) -> None:
    for field, value in fields.items():
        if not value:
            raise InvalidArgument(f"The request has no {field}; set it.")
