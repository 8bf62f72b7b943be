"""Emptying a storage host: its volumes are copied to others, as clones of them."""

from __future__ import annotations

import asyncio
from pathlib import Path

from csi_lvm_iscsi.controller.snapshots import Snapshots
from csi_lvm_iscsi.controller.volumes import Volumes
from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.model.errors import NotFound
from csi_lvm_iscsi.model.parameters import Parameters
from csi_lvm_iscsi.model.publications import Publication
from csi_lvm_iscsi.model.volumes import Snapshot, Volume
from csi_lvm_iscsi.rpc import messages
from csi_lvm_iscsi.rpc.pb import storage_pb2
from csi_lvm_iscsi.rpc.tls import ClientCredentials
from csi_lvm_iscsi.storage_client.cluster import ClusterMembership
from tests.unit.cluster.storage_hosts import GIB, UUIDS, StorageHost
from tests.unit.cluster.world import Kubernetes, until

THIN = Parameters.parse({})


class WithVolumes(StorageHost):
    """A storage host that makes volumes and lends them, and tells what it was asked for."""

    def __init__(self, name: str, certificates: Path, group: str) -> None:
        super().__init__(name, certificates, group)
        self.uuid = UUIDS[group]
        self.volumes: dict[str, Volume] = {}
        self.asked: list[str] = []

    async def GetVolume(
        self, request: storage_pb2.GetVolumeRequest, context: object
    ) -> storage_pb2.Volume:
        if request.volume_id not in self.volumes:
            raise NotFound("no such volume")
        return messages.volume_message(self.volumes[request.volume_id])

    async def CreateVolume(
        self, request: storage_pb2.CreateVolumeRequest, context: object
    ) -> storage_pb2.Volume:
        made = Volume(
            id=names.volume_id(self.uuid, request.name),
            name=request.name,
            size_bytes=GIB,
            source_id=request.source_id,
            copying=bool(request.source_id) and not request.HasField("source"),
        )
        self.volumes[made.id] = made
        self.asked.append("copy" if request.HasField("source") else "create")
        return messages.volume_message(made)

    async def CreateSnapshot(
        self, request: storage_pb2.CreateSnapshotRequest, context: object
    ) -> storage_pb2.Snapshot:
        self.asked.append("snapshot")
        made = names.snapshot_id(self.uuid, request.name)
        return messages.snapshot_message(Snapshot(made, request.name, request.volume_id, GIB, 1))

    async def GetSnapshot(
        self, request: storage_pb2.GetSnapshotRequest, context: object
    ) -> storage_pb2.Snapshot:
        raise NotFound("no such snapshot")

    async def PublishVolume(
        self, request: storage_pb2.PublishVolumeRequest, context: object
    ) -> storage_pb2.Publication:
        self.asked.append(f"lend to {request.node_id}")
        return messages.publication_message(
            Publication(request.volume_id, request.node_id, "iqn", ("p",), 1, "s", GIB, "n", "k1")
        )

    async def UnpublishVolume(
        self, request: storage_pb2.UnpublishVolumeRequest, context: object
    ) -> storage_pb2.UnpublishVolumeResponse:
        self.asked.append("take back")
        return storage_pb2.UnpublishVolumeResponse()

    async def DeleteSnapshot(
        self, request: storage_pb2.DeleteSnapshotRequest, context: object
    ) -> storage_pb2.DeleteSnapshotResponse:
        self.asked.append("delete snapshot")
        return storage_pb2.DeleteSnapshotResponse()


async def test_a_cordoned_hosts_volumes_are_cloned_to_another(
    kubernetes: Kubernetes, credentials: ClientCredentials, certificates: tuple[Path, Path]
) -> None:
    old = WithVolumes("storage-1", certificates[0], "a")  # type: ignore[abstract]
    new = WithVolumes("storage-2", certificates[0], "b")  # type: ignore[abstract]
    async with old.serving(), new.serving():
        for host, letter in ((old, "a"), (new, "b")):
            groups = [{"name": f"vg-{letter}", "uuid": UUIDS[letter]}]
            await kubernetes.storage_node(host.name, volumeGroups=groups)
        await kubernetes.endpoints(old, new)
        source = Volume(names.volume_id(UUIDS["a"], "pvc-1"), "pvc-1", GIB)
        old.volumes[source.id] = source
        membership = ClusterMembership(kubernetes.cluster(), credentials, zones=False)
        following = asyncio.create_task(membership.follow())
        await until(lambda: [each for each in membership.known if each.entry.address][1:])

        beside = await Volumes(membership).create("pvc-2", GIB, 0, THIN, source_id=source.id)
        assert beside.id in old.volumes  # while the host takes new volumes, a clone is made beside
        await kubernetes.patch("storage-1", schedulable=False)
        await until(lambda: membership.known[0].entry.closed)
        old.asked.clear()
        moved = await Volumes(membership).create("pvc-3", GIB, 0, THIN, source_id=source.id)
        assert moved.id in new.volumes
        assert not moved.copying
        assert old.asked == ["snapshot", "lend to storage-2", "take back", "delete snapshot"]
        assert new.asked == ["create", "copy"]
        # Also a snapshot of the cordoned host's own is still taken.
        assert (await Snapshots(membership).create("snap", source.id)).volume_id == source.id
        following.cancel()
        await asyncio.wait({following})
