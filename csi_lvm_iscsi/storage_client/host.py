"""A storage host as its clients see it: the verbs of proto/storage.proto, in model values."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from grpc import aio

from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.model.errors import Unavailable
from csi_lvm_iscsi.model.host_status import HostStatus
from csi_lvm_iscsi.model.publications import Publication
from csi_lvm_iscsi.model.volumes import Pool, Snapshot, Volume
from csi_lvm_iscsi.rpc import messages, tls
from csi_lvm_iscsi.rpc.addressee import meant_for
from csi_lvm_iscsi.rpc.errors import error_of
from csi_lvm_iscsi.rpc.interceptor import NO_RETRY
from csi_lvm_iscsi.rpc.pb import storage_pb2
from csi_lvm_iscsi.storage_client.connection import Connection

_READ_SECONDS = 10.0
# Told from memory: one that takes longer hangs, and must not hold up what is told of others.
_STATUS_SECONDS = 4.0
# Longer than the storage host's own bounds together (to be ready, to drain twice, on lvm), so that
# its message arrives.
_CHANGE_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class HostEntry:
    """A storage host that belongs to the cluster. Being listed is membership, not liveness."""

    name: str
    address: str
    """Empty: it is nowhere now."""

    volume_group_uuids: tuple[str, ...]
    zone: str = ""
    """What is near it and fails with it; empty: there are no zones."""

    closed: str = ""
    """Why no new volume is placed there, a sentence; empty where they are."""

    retired: bool = False
    """Whether it is given up, and its volumes with it."""


class StorageHost:
    """The client of one storage host. Each verb raises the error that the host answered with, or
    Unavailable where it did not answer."""

    def __init__(
        self, entry: HostEntry, credentials: tls.ClientCredentials, server_name: str = ""
    ) -> None:
        """`server_name`: in the host's certificate; its own name if nothing else is said."""
        self._connection = Connection(server_name or entry.name, credentials, _CHANGE_SECONDS)
        self._located = asyncio.Event()
        self.is_up: bool | None = None
        """Whether it answered the last call; None: there was none."""
        self.called_at = 0.0
        """When that call ended: of the monotonic clock."""
        self.answered_at = 0.0
        """When it last answered: seconds since 1970."""
        self.update(entry)

    def update(self, entry: HostEntry) -> None:
        """Take note of what is known of the host now; later calls go to its address of now."""
        self.entry = entry
        self._hashes = {names.volume_group_hash(uuid) for uuid in entry.volume_group_uuids}
        if entry.address:
            self._located.set()
        else:
            self._located.clear()

    def close(self) -> None:
        """Give up the connection; calls under way end over it."""
        self._connection.close()

    def owns(self, volume_id: str) -> bool:
        """Whether a volume with this id can only be on this host."""
        return volume_id.partition("-")[0] in self._hashes

    def id_of(self, name: str) -> list[str]:
        """The ids that a volume of this CSI name can have here, one for each volume group."""
        return [names.volume_id(uuid, name) for uuid in self.entry.volume_group_uuids]

    def snapshot_ids_of(self, name: str) -> list[str]:
        """The ids that a snapshot of this CSI name can have here, one for each volume group."""
        return [names.snapshot_id(uuid, name) for uuid in self.entry.volume_group_uuids]

    async def status(self) -> HostStatus:
        """What the host tells of itself."""
        request = storage_pb2.GetStatusRequest()
        return messages.status_of(await self._call("GetStatus", request, _STATUS_SECONDS))

    async def pools(self) -> list[Pool]:
        """The pools of the host, with the space in them."""
        request = storage_pb2.GetCapacityRequest()
        answer = await self._call("GetCapacity", request, _READ_SECONDS)
        return [messages.pool_of(each) for each in answer.pools]

    async def create(
        self,
        name: str,
        required: int,
        limit: int,
        *,
        pool: Pool,
        origin: Mapping[str, str],
        source_id: str = "",
        source_bytes: int = 0,
        source: Publication | None = None,
    ) -> Volume:
        """Make a volume in one of the host's pools, or find it made. `source_id`: the snapshot or
        volume it begins with; `source`: how to read that where it is another host's."""
        request = storage_pb2.CreateVolumeRequest(
            name=name,
            required_bytes=required,
            limit_bytes=limit,
            origin=origin,
            volume_group=pool.volume_group,
            thin_pool=pool.thin_pool,
            source_id=source_id,
            source_bytes=source_bytes,
            source=messages.publication_message(source) if source else None,
        )
        answer = await self._call("CreateVolume", request, _CHANGE_SECONDS)
        return messages.volume_of(answer)

    async def delete(self, volume_id: str, *, source_taken_back: bool = False) -> tuple[str, bool]:
        """Remove a volume; the id of what it was made of, or nothing, and whether it is kept: one
        that is being copied from another host is, until what that lent was taken back."""
        request = storage_pb2.DeleteVolumeRequest(
            volume_id=volume_id, source_taken_back=source_taken_back
        )
        answer = await self._call("DeleteVolume", request, _CHANGE_SECONDS)
        return str(answer.source_id), bool(answer.kept)

    async def get(self, volume_id: str, *, patient: bool = False) -> Volume:
        """Find a volume. With `patient`, a host that does not answer is given the whole time (10
        seconds) to come back."""
        request = storage_pb2.GetVolumeRequest(volume_id=volume_id)
        answer = await self._call("GetVolume", request, _READ_SECONDS, wait_for_ready=patient)
        return messages.volume_of(answer)

    async def volumes(self) -> list[Volume]:
        """All volumes."""
        request = storage_pb2.ListVolumesRequest()
        answer = await self._call("ListVolumes", request, _READ_SECONDS)
        return [messages.volume_of(each) for each in answer.volumes]

    async def expand(self, volume_id: str, required: int, limit: int) -> Volume:
        """Grow a volume."""
        request = storage_pb2.ExpandVolumeRequest(
            volume_id=volume_id, required_bytes=required, limit_bytes=limit
        )
        answer = await self._call("ExpandVolume", request, _CHANGE_SECONDS)
        return messages.volume_of(answer)

    async def publish(
        self, volume_id: str, node_id: str, *, read_only: bool, shared: bool
    ) -> Publication:
        """Export a volume to one more node."""
        request = storage_pb2.PublishVolumeRequest(
            volume_id=volume_id, node_id=node_id, read_only=read_only, shared=shared
        )
        answer = await self._call("PublishVolume", request, _CHANGE_SECONDS)
        return messages.publication_of(answer)

    async def unpublish(self, volume_id: str, node_id: str) -> None:
        """Fence a node (an empty name: all) off a volume."""
        request = storage_pb2.UnpublishVolumeRequest(volume_id=volume_id, node_id=node_id)
        await self._call("UnpublishVolume", request, _CHANGE_SECONDS)

    async def create_snapshot(
        self, name: str, volume_id: str, *, internal: bool = False
    ) -> Snapshot:
        """Take a snapshot, or find it taken. An `internal` one is not listed."""
        request = storage_pb2.CreateSnapshotRequest(
            name=name, volume_id=volume_id, internal=internal
        )
        answer = await self._call("CreateSnapshot", request, _CHANGE_SECONDS)
        return messages.snapshot_of(answer)

    async def delete_snapshot(self, snapshot_id: str) -> None:
        """Remove a snapshot."""
        request = storage_pb2.DeleteSnapshotRequest(snapshot_id=snapshot_id)
        await self._call("DeleteSnapshot", request, _CHANGE_SECONDS)

    async def get_snapshot(self, snapshot_id: str) -> Snapshot:
        """Find a snapshot."""
        request = storage_pb2.GetSnapshotRequest(snapshot_id=snapshot_id)
        answer = await self._call("GetSnapshot", request, _READ_SECONDS)
        return messages.snapshot_of(answer)

    async def snapshots(self) -> list[Snapshot]:
        """All snapshots."""
        request = storage_pb2.ListSnapshotsRequest()
        answer = await self._call("ListSnapshots", request, _READ_SECONDS)
        return [messages.snapshot_of(each) for each in answer.snapshots]

    async def _call(
        self,
        verb: str,
        request: Any,  # noqa: ANN401
        seconds: float,
        *,
        wait_for_ready: bool = False,
    ) -> Any:  # noqa: ANN401
        """Make one call. A host that is down is found out at once, not after `seconds`."""
        address = await self._address(seconds if wait_for_ready else 0)
        method = getattr(self._connection.stub(address), verb)
        metadata = meant_for(self.entry.name)
        try:
            answer = await method(
                request, timeout=seconds, metadata=metadata, wait_for_ready=wait_for_ready
            )
        except aio.AioRpcError as error:
            self._note(up=_is_answer(error))
            known = error_of(error.code(), error.details() or error.code().name)
            if isinstance(known, Unavailable):
                raise Unavailable(f"Storage host {self.entry.name} ({address}): {known}") from error
            raise known from error
        self._note(up=True)
        return answer

    async def _address(self, seconds: float) -> str:
        """Where the host is now, or is within so many seconds."""
        if not self._located.is_set():
            try:
                await asyncio.wait_for(self._located.wait(), seconds)
            except TimeoutError:
                self._note(up=False)
                name = self.entry.name
                raise Unavailable(
                    f"{name} has no running storage pod: see that node {name} is up "
                    f"(`kubectl get node {name}`), that it has the label "
                    f"{names.STORAGE_LABEL}=true (or those of the chart's storage.nodeSelector), "
                    "and what its pod of csi-lvm-iscsi-storage says."
                ) from None
        return self.entry.address

    def _note(self, *, up: bool) -> None:
        self.is_up = up
        self.called_at = time.monotonic()
        if up:
            self.answered_at = time.time()


def _is_answer(error: aio.AioRpcError) -> bool:
    """Whether the host itself sent this error: its own say that they are not to be made again."""
    return any(key == NO_RETRY[0] for key, _ in error.trailing_metadata() or ())
