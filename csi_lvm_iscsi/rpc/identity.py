"""CSI Identity: the same on the controller and on the nodes."""

from collections.abc import Callable

from google.protobuf import wrappers_pb2

from csi_lvm_iscsi import __version__
from csi_lvm_iscsi.model.errors import Unavailable
from csi_lvm_iscsi.model.names import DRIVER
from csi_lvm_iscsi.rpc.pb import csi_pb2, csi_pb2_grpc


class IdentityService(csi_pb2_grpc.IdentityServicer):
    """Who we are."""

    def __init__(
        self, *, zones: bool = False, check_ready: Callable[[], None] = lambda: None
    ) -> None:
        """`zones`: whether volumes and nodes are told to be in zones. `check_ready` raises
        Unavailable while we are still getting ready."""
        self._zones = zones
        self._check_ready = check_ready

    async def GetPluginInfo(
        self, request: csi_pb2.GetPluginInfoRequest, context: object
    ) -> csi_pb2.GetPluginInfoResponse:
        """Name and version."""
        return csi_pb2.GetPluginInfoResponse(name=DRIVER, vendor_version=__version__)

    async def GetPluginCapabilities(
        self, request: csi_pb2.GetPluginCapabilitiesRequest, context: object
    ) -> csi_pb2.GetPluginCapabilitiesResponse:
        """There is a controller, and volumes grow while they are in use; and where there are zones,
        volumes are placed by them."""
        service = csi_pb2.PluginCapability.Service
        kinds = [service.CONTROLLER_SERVICE]
        if self._zones:
            kinds.append(service.VOLUME_ACCESSIBILITY_CONSTRAINTS)
        expansion = csi_pb2.PluginCapability.VolumeExpansion(
            type=csi_pb2.PluginCapability.VolumeExpansion.ONLINE
        )
        return csi_pb2.GetPluginCapabilitiesResponse(
            capabilities=[
                *(csi_pb2.PluginCapability(service=service(type=kind)) for kind in kinds),
                csi_pb2.PluginCapability(volume_expansion=expansion),
            ]
        )

    async def Probe(self, request: csi_pb2.ProbeRequest, context: object) -> csi_pb2.ProbeResponse:
        """Whether we are ready; what is needed of others is checked when it is needed."""
        try:
            self._check_ready()
        except Unavailable:
            return csi_pb2.ProbeResponse(ready=wrappers_pb2.BoolValue(value=False))
        return csi_pb2.ProbeResponse(ready=wrappers_pb2.BoolValue(value=True))
