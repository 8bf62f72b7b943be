"""Storage hosts that speak the real protocol over TLS, and keep what they have in memory."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from grpc import aio
from prometheus_client import CollectorRegistry

from csi_lvm_iscsi.bootstrap.certificates import CLIENT, SERVER, new_authority, new_leaf
from csi_lvm_iscsi.model.host_status import HostStatus, VolumeGroupSpace
from csi_lvm_iscsi.model.volumes import Pool
from csi_lvm_iscsi.rpc import messages, tls
from csi_lvm_iscsi.rpc.addressee import AddresseeInterceptor
from csi_lvm_iscsi.rpc.interceptor import CallInterceptor
from csi_lvm_iscsi.rpc.pb import storage_pb2, storage_pb2_grpc

REAL = os.environ.get("CSI_TEST_KUBECONFIG", "")
"""Of a real API server, for an admin; it must have the StorageNode API and the namespace."""


def own_address() -> str:
    """An address of this host that is not on loopback: a real API server takes no such endpoint."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.connect(("192.0.2.1", 9))  # nothing is sent
        return str(asking.getsockname()[0])


ADDRESS = own_address() if REAL else "127.0.0.1"
NOW = datetime.now(UTC)
AUTHORITY = new_authority(NOW)
GIB = 1 << 30
UUIDS = {name: f"{name * 6}-AAAA-BBBB-CCCC-DDDD-EEEE-FFFFFF" for name in "abcd"}
"""Of volume groups, by a letter."""


def write_certificates(directory: Path) -> tuple[Path, Path]:
    """The directories of the server's and of the client's."""
    for role, name, usage in (
        ("server", "storage.csi-lvm-iscsi", SERVER),
        ("client", "controller", CLIENT),
    ):
        leaf = new_leaf(AUTHORITY, name, usage, NOW)
        (directory / role).mkdir()
        (directory / role / "ca.crt").write_bytes(AUTHORITY.certificate)
        (directory / role / "tls.crt").write_bytes(leaf.certificate)
        (directory / role / "tls.key").write_bytes(leaf.key)
    return directory / "server", directory / "client"


class StorageHost(storage_pb2_grpc.StorageServicer):
    """A storage host with volume groups, each with one thin pool."""

    def __init__(self, name: str, certificates: Path, *groups: str, address: str = ADDRESS) -> None:
        self.name = name
        self.address = address
        self.groups: dict[str, str] = {UUIDS[each]: f"vg-{each}" for each in groups}
        self.used = 25.0
        self.stopped = ""
        self.problems: tuple[str, ...] = ()
        self.deleted: list[str] = []
        self.port = 0
        self._certificates = certificates
        self._server: aio.Server | None = None

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[StorageHost]:
        await self.start()
        try:
            yield self
        finally:
            await self.stop()

    async def start(self) -> None:
        """Listen, at a port that the kernel chooses."""
        self._server = aio.server(
            interceptors=[CallInterceptor(CollectorRegistry()), AddresseeInterceptor(self.name)]
        )
        storage_pb2_grpc.add_StorageServicer_to_server(self, self._server)
        credentials = tls.server_credentials(self._certificates)
        self.port = self._server.add_secure_port(f"{self.address}:0", credentials)
        await self._server.start()

    async def stop(self) -> None:
        """Be gone."""
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    def status(self) -> HostStatus:
        pools = tuple(
            Pool(
                volume_group=name,
                volume_group_uuid=uuid,
                thin_pool="pool",
                size_bytes=8 * GIB,
                free_bytes=round(8 * GIB * (1 - self.used / 100)),
                provisioned_bytes=0,
                available_bytes=80 * GIB,
                maximum_volume_bytes=8 * GIB,
                data_percent=self.used,
                metadata_percent=1.5,
                stopped=self.stopped,
            )
            for uuid, name in self.groups.items()
        )
        return HostStatus(
            host=self.name,
            version="0.1.0",
            volume_groups=tuple(
                VolumeGroupSpace(name, uuid, 10 * GIB, 2 * GIB)
                for uuid, name in self.groups.items()
            ),
            pools=pools,
            portals=("192.0.2.1:3260",),
            volumes=3,
            published_volumes=1,
            problems=self.problems,
        )

    async def GetStatus(
        self, request: storage_pb2.GetStatusRequest, context: object
    ) -> storage_pb2.GetStatusResponse:
        return messages.status_message(self.status())

    async def GetCapacity(
        self, request: storage_pb2.GetCapacityRequest, context: object
    ) -> storage_pb2.GetCapacityResponse:
        pools = map(messages.pool_message, self.status().pools)
        return storage_pb2.GetCapacityResponse(host=self.name, pools=pools)

    async def ListVolumes(
        self, request: storage_pb2.ListVolumesRequest, context: object
    ) -> storage_pb2.ListVolumesResponse:
        volume = storage_pb2.Volume(id=f"volume-of-{self.name}")
        return storage_pb2.ListVolumesResponse(volumes=[volume])

    async def DeleteVolume(
        self, request: storage_pb2.DeleteVolumeRequest, context: object
    ) -> storage_pb2.DeleteVolumeResponse:
        self.deleted.append(request.volume_id)
        return storage_pb2.DeleteVolumeResponse()
