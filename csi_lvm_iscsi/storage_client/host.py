"""A storage host as its clients see it: the verbs of proto/storage.proto, in model values."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from grpc import aio

from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.model.errors import Unavailable
from csi_lvm_iscsi.model.publications import Publication
from csi_lvm_iscsi.model.volumes import Capacity, Volume
from csi_lvm_iscsi.rpc import server
from csi_lvm_iscsi.rpc.errors import error_of
from csi_lvm_iscsi.rpc.pb import storage_pb2, storage_pb2_grpc

_READ_SECONDS = 10.0
# Longer than the storage host's own bounds together (to be ready, to drain twice, on lvm), so that
# its message arrives.
_CHANGE_SECONDS = 300.0
CHANNEL_OPTIONS = [
    # A host without power sends nothing: without these pings a call would wait for its deadline.
    ("grpc.keepalive_time_ms", server.KEEPALIVE_MILLISECONDS),
    ("grpc.keepalive_timeout_ms", 3000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # gRPC takes the smallest for the time that connecting may take, too.
    ("grpc.min_reconnect_backoff_ms", 3000),
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # Every verb is idempotent. A connection that a rebooted host has forgotten breaks at the first
    # call over it: that call is made again. What a server answered is not (rpc/interceptor.py).
    (
        "grpc.service_config",
        json.dumps(
            {
                "methodConfig": [
                    {
                        "name": [{}],
                        "retryPolicy": {
                            "maxAttempts": 3,
                            "initialBackoff": "0.1s",
                            "maxBackoff": "1s",
                            "backoffMultiplier": 3,
                            "retryableStatusCodes": ["UNAVAILABLE"],
                        },
                    }
                ]
            }
        ),
    ),
]


@dataclass(frozen=True, slots=True)
class HostEntry:
    """A storage host in the inventory. Being listed is membership, not liveness."""

    name: str
    address: str
    volume_group_uuids: tuple[str, ...]


class StorageHost:
    """The client of one storage host. Each verb raises the error that the host answered with, or
    Unavailable where it did not answer."""

    def __init__(self, entry: HostEntry, credentials: grpc.ChannelCredentials) -> None:
        self.entry = entry
        channel = aio.secure_channel(
            entry.address,
            credentials,
            # The certificate names the host, whatever its address is today.
            options=[("grpc.ssl_target_name_override", entry.name), *CHANNEL_OPTIONS],
        )
        self._stub = storage_pb2_grpc.StorageStub(channel)
        self._hashes = {names.volume_group_hash(uuid) for uuid in entry.volume_group_uuids}

    def owns(self, volume_id: str) -> bool:
        """Whether a volume with this id can only be on this host."""
        return volume_id.partition("-")[0] in self._hashes

    def id_of(self, name: str) -> list[str]:
        """The ids that a volume of this CSI name can have here, one for each volume group."""
        return [names.volume_id(uuid, name) for uuid in self.entry.volume_group_uuids]

    async def capacity(self) -> Capacity:
        """The space of the host."""
        answer = await self._call(
            self._stub.GetCapacity, storage_pb2.GetCapacityRequest(), _READ_SECONDS
        )
        return Capacity(
            host=answer.host,
            volume_group_uuid=answer.volume_group_uuid,
            size_bytes=answer.size_bytes,
            free_bytes=answer.free_bytes,
            provisioned_bytes=answer.provisioned_bytes,
        )

    async def create(
        self, name: str, required: int, limit: int, origin: Mapping[str, str]
    ) -> Volume:
        """Make a volume, or find it made."""
        request = storage_pb2.CreateVolumeRequest(
            name=name, required_bytes=required, limit_bytes=limit, origin=origin
        )
        return _volume(await self._call(self._stub.CreateVolume, request, _CHANGE_SECONDS))

    async def delete(self, volume_id: str) -> None:
        """Remove a volume."""
        request = storage_pb2.DeleteVolumeRequest(volume_id=volume_id)
        await self._call(self._stub.DeleteVolume, request, _CHANGE_SECONDS)

    async def get(self, volume_id: str, *, patient: bool = False) -> Volume:
        """Find a volume. With `patient`, a host that does not answer is given the whole time (10
        seconds) to come back."""
        request = storage_pb2.GetVolumeRequest(volume_id=volume_id)
        answer = await self._call(
            self._stub.GetVolume, request, _READ_SECONDS, wait_for_ready=patient
        )
        return _volume(answer)

    async def list(self) -> list[Volume]:
        """All volumes."""
        request = storage_pb2.ListVolumesRequest()
        answer = await self._call(self._stub.ListVolumes, request, _READ_SECONDS)
        return [_volume(each) for each in answer.volumes]

    async def publish(self, volume_id: str, node_id: str) -> Publication:
        """Export a volume to a node."""
        request = storage_pb2.PublishVolumeRequest(volume_id=volume_id, node_id=node_id)
        answer = await self._call(self._stub.PublishVolume, request, _CHANGE_SECONDS)
        return Publication(
            volume_id=answer.volume_id,
            node_id=answer.node_id,
            target=answer.target,
            portals=tuple(answer.portals),
            lun=answer.lun,
            serial=answer.serial,
            size_bytes=answer.size_bytes,
            nonce=answer.nonce,
            key_id=answer.key_id,
        )

    async def unpublish(self, volume_id: str, node_id: str) -> None:
        """Fence a node (an empty name: all) off a volume."""
        request = storage_pb2.UnpublishVolumeRequest(volume_id=volume_id, node_id=node_id)
        await self._call(self._stub.UnpublishVolume, request, _CHANGE_SECONDS)

    async def _call(
        self,
        method: Any,  # noqa: ANN401
        request: Any,  # noqa: ANN401
        seconds: float,
        *,
        wait_for_ready: bool = False,
    ) -> Any:  # noqa: ANN401
        """Make one call. A host that is down is found out at once, not after `seconds`."""
        try:
            return await method(request, timeout=seconds, wait_for_ready=wait_for_ready)
        except aio.AioRpcError as error:
            known = error_of(error.code(), error.details() or error.code().name)
            if isinstance(known, Unavailable):
                raise Unavailable(
                    f"Storage host {self.entry.name} ({self.entry.address}): {known}"
                ) from error
            raise known from error


def _volume(message: storage_pb2.Volume) -> Volume:
    return Volume(message.id, message.name, message.size_bytes, tuple(message.node_ids))
