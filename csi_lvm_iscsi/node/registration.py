"""Registration with kubelet: it finds our socket in its directory, and asks there who we are
(kubelet's plugin registration v1, proto/pluginregistration.proto)."""

import asyncio
import contextlib
from pathlib import Path

import structlog
from grpc import aio

from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.model.errors import DriverError
from csi_lvm_iscsi.rpc import server
from csi_lvm_iscsi.rpc.pb import pluginregistration_pb2, pluginregistration_pb2_grpc

SOCKET = f"{names.DRIVER}-reg.sock"
_TYPE = "CSIPlugin"  # k8s.io/kubelet, pkg/apis/pluginregistration/v1/constants.go
# Of CSI: kubelet takes any 1.x for all of them (pkg/volume/csi/csi_plugin.go, validateVersions).
_VERSIONS = ("1.0.0",)
# Kubelet is still to have its answer, when what it said ends us.
_GRACE_SECONDS = 2.0
_log = structlog.get_logger()


class Registration(pluginregistration_pb2_grpc.RegistrationServicer):
    """What kubelet asks us, and tells us."""

    def __init__(self, directory: Path, endpoint: str) -> None:
        """`directory`: kubelet's plugins_registry. `endpoint`: where we serve CSI, by a path that
        is the same for kubelet."""
        self._path = directory / SOCKET
        self._endpoint = endpoint.removeprefix("unix://")
        self._refused: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Be registered for as long as this runs: kubelet forgets us when the socket goes, and
        reads it anew when it comes back, also where that is kubelet who was restarted.

        To be begun when CSI is served, as kubelet calls NodeGetInfo at once. Raises DriverError
        where kubelet refuses us.
        """
        listening = await server.listen(f"unix://{self._path}", self._add_to)
        try:
            reason = await self._refused
        finally:
            # First, so that no call comes any more while those that have begun are ended.
            self._path.unlink(missing_ok=True)
            await listening.stop(_GRACE_SECONDS)
        raise DriverError(
            f"kubelet refused to register this driver: {reason}. Its log tells more; a driver of "
            f"the same name ({names.DRIVER}) must not run on this node besides."
        )

    def _add_to(self, listening: aio.Server) -> None:
        pluginregistration_pb2_grpc.add_RegistrationServicer_to_server(self, listening)

    async def GetInfo(
        self, request: pluginregistration_pb2.InfoRequest, context: object
    ) -> pluginregistration_pb2.PluginInfo:
        """Who we are, and where CSI is served."""
        return pluginregistration_pb2.PluginInfo(
            type=_TYPE, name=names.DRIVER, endpoint=self._endpoint, supported_versions=_VERSIONS
        )

    async def NotifyRegistrationStatus(
        self, request: pluginregistration_pb2.RegistrationStatus, context: object
    ) -> pluginregistration_pb2.RegistrationStatusResponse:
        """Whether kubelet took us."""
        if request.plugin_registered:
            _log.info("registered with kubelet")
        else:
            with contextlib.suppress(asyncio.InvalidStateError):  # it said so before
                self._refused.set_result(request.error)
        return pluginregistration_pb2.RegistrationStatusResponse()
