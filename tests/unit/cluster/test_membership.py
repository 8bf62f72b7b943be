"""The controller's view of the cluster: who belongs, where they are, and what it does of that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from csi_lvm_iscsi.controller.placement import ANYWHERE
from csi_lvm_iscsi.controller.snapshots import Snapshots
from csi_lvm_iscsi.controller.volumes import Volumes
from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.model.errors import FailedPrecondition, NotFound, OutOfSpace, Unavailable
from csi_lvm_iscsi.model.parameters import Parameters
from csi_lvm_iscsi.rpc.identity import IdentityService
from csi_lvm_iscsi.rpc.pb import csi_pb2
from csi_lvm_iscsi.rpc.tls import ClientCredentials
from csi_lvm_iscsi.storage_client.cluster import ClusterMembership
from tests.unit.cluster.fake_api import FakeApi
from tests.unit.cluster.storage_hosts import ADDRESS, GIB, UUIDS
from tests.unit.cluster.world import (
    CSI_NODES,
    SLICES,
    Kubernetes,
    NewHost,
    endpoint_slice,
    until,
)

THIN = Parameters.parse({})


def group(letter: str) -> dict[str, str]:
    return {"name": f"vg-{letter}", "uuid": UUIDS[letter]}


def volume_of(letter: str) -> str:
    return names.volume_id(UUIDS[letter], "pvc-1")


@asynccontextmanager
async def following(
    kubernetes: Kubernetes, credentials: ClientCredentials, *, zones: bool = False
) -> AsyncIterator[ClusterMembership]:
    membership = ClusterMembership(kubernetes.cluster(), credentials, zones=zones)
    task = asyncio.create_task(membership.follow())
    try:
        yield membership
    finally:
        task.cancel()
        await asyncio.wait({task})


def ready(membership: ClusterMembership) -> bool:
    try:
        membership.check_ready()
    except Unavailable:
        return False
    return True


async def test_before_the_first_list_nothing_is_answered(
    kubernetes: Kubernetes, credentials: ClientCredentials, fake: FakeApi
) -> None:
    fake.down = True
    async with following(kubernetes, credentials) as membership:
        await until(lambda: "does not answer" in str(_why_not_ready(membership)))
        with pytest.raises(Unavailable, match="not known yet which storage hosts"):
            await Volumes(membership).delete(volume_of("a"))
        identity = IdentityService(check_ready=membership.check_ready)
        assert not (await identity.Probe(csi_pb2.ProbeRequest(), None)).ready.value
        fake.down = False
        await until(lambda: ready(membership))
        assert (await identity.Probe(csi_pb2.ProbeRequest(), None)).ready.value


def _why_not_ready(membership: ClusterMembership) -> Unavailable | None:
    try:
        membership.check_ready()
    except Unavailable as error:
        return error
    return None


async def test_a_host_is_followed_to_another_address(
    kubernetes: Kubernetes, credentials: ClientCredentials, new_host: NewHost
) -> None:
    await kubernetes.storage_node("storage-1", volumeGroups=[group("a")])
    host = await new_host("storage-1", "a")
    await kubernetes.endpoints(host)
    async with following(kubernetes, credentials) as membership:
        await until(lambda: ready(membership) and membership.hosts)
        client = membership.owner_or_refuse(volume_of("a"))
        assert [each.name for each in await client.pools()] == ["vg-a/pool"]
        await host.stop()
        await kubernetes.endpoints()
        await until(lambda: not client.entry.address)
        with pytest.raises(Unavailable, match="storage-1 has no running storage pod") as refused:
            await client.pools()
        assert f"that it has the label {names.STORAGE_LABEL}=true " in str(refused.value)
        patient = asyncio.create_task(client.get(volume_of("a"), patient=True))
        await host.start()
        await kubernetes.endpoints(host)
        await until(lambda: client.entry.address)
        assert len(await client.pools()) == 1
        assert membership.owner(volume_of("a")) is client
        with pytest.raises(Exception, match="does not have this method"):
            await patient  # it waited for the address, and was answered there


async def test_another_host_at_the_address_is_not_obeyed(
    kubernetes: Kubernetes, credentials: ClientCredentials, new_host: NewHost
) -> None:
    """The hosts share a certificate: only this keeps a fence from being confirmed by a stranger."""
    await kubernetes.storage_node("storage-1", volumeGroups=[group("a")])
    stranger = await new_host("storage-2", "b")
    await kubernetes.api.create(SLICES, endpoint_slice("storage-1", stranger.port))
    async with following(kubernetes, credentials) as membership:
        await until(lambda: ready(membership) and membership.hosts[0].entry.address)
        with pytest.raises(Unavailable, match="This is storage host storage-2, not storage-1"):
            await Volumes(membership).delete(volume_of("a"))
        assert stranger.deleted == []


async def test_of_several_endpoints_of_a_node_the_ready_one_counts(
    kubernetes: Kubernetes, credentials: ClientCredentials
) -> None:
    await kubernetes.storage_node("storage-1")
    for name, port, is_ready in (("a", 1, False), ("b", 2, True), ("c", 3, False)):
        await kubernetes.api.create(
            SLICES, endpoint_slice("storage-1", port, name=name, ready=is_ready)
        )
    async with following(kubernetes, credentials) as membership:
        await until(lambda: ready(membership) and membership.hosts)
        (host,) = membership.hosts
        await until(lambda: host.entry.address == f"{ADDRESS}:2")
        await kubernetes.delete(f"{SLICES}/csi-lvm-iscsi-storage-b")
        await until(lambda: host.entry.address in {f"{ADDRESS}:1", f"{ADDRESS}:3"})


async def test_a_cordoned_host_gets_no_new_volumes_and_keeps_its_own(
    kubernetes: Kubernetes, credentials: ClientCredentials, new_host: NewHost
) -> None:
    await kubernetes.storage_node("storage-1", volumeGroups=[group("a")])
    host = await new_host("storage-1", "a")
    await kubernetes.endpoints(host)
    async with following(kubernetes, credentials) as membership:
        volumes = Volumes(membership)
        await until(lambda: ready(membership) and membership.hosts[0].entry.address)
        assert len(await volumes.pools(THIN)) == 1
        await kubernetes.patch("storage-1", schedulable=False)
        await until(lambda: membership.hosts[0].entry.closed)
        assert await volumes.pools(THIN) == []
        with pytest.raises(OutOfSpace, match="storage-1 is cordoned"):
            raise volumes._places.why_none([], THIN, ANYWHERE)
        await volumes.delete(volume_of("a"))
        assert host.deleted == [volume_of("a")]
        assert len(await volumes.all()) == 1
        await kubernetes.patch("storage-1", schedulable=True)
        await until(lambda: not membership.hosts[0].entry.closed)


async def test_a_retired_host_is_given_up(
    kubernetes: Kubernetes, credentials: ClientCredentials, new_host: NewHost
) -> None:
    """It never answers again, and yet its volumes can be deleted."""
    await kubernetes.storage_node("storage-1", volumeGroups=[group("a")])
    await kubernetes.storage_node("storage-2", volumeGroups=[group("b")])
    await kubernetes.csi_node("compute-1", names.DRIVER)
    await kubernetes.endpoints(await new_host("storage-2", "b"))
    async with following(kubernetes, credentials) as membership:
        volumes, snapshots = Volumes(membership), Snapshots(membership)
        await until(lambda: ready(membership) and membership.hosts[1].entry.address)
        with pytest.raises(Unavailable, match="storage-1 has no running storage pod"):
            await volumes.delete(volume_of("a"))
        with pytest.raises(Unavailable):
            await volumes.all()
        await kubernetes.patch("storage-1", retired=True)
        await until(lambda: len(membership.hosts) == 1)
        await volumes.delete(volume_of("a"))
        await volumes.unpublish(volume_of("a"), "compute-1")
        await volumes.unpublish(volume_of("a"), "")
        snapshot = names.snapshot_id(UUIDS["a"], "snap")
        await snapshots.delete(snapshot)
        assert await snapshots.all(snapshot) == []
        assert [each.id for each in await volumes.all()] == ["volume-of-storage-2"]
        with pytest.raises(FailedPrecondition, match="given up with storage host storage-1"):
            await volumes.publish(volume_of("a"), "compute-1", read_only=False, shared=False)
        with pytest.raises(FailedPrecondition, match="retired"):
            await snapshots.create("snap", volume_of("a"))
        with pytest.raises(FailedPrecondition, match="retired"):
            await volumes.expand(volume_of("a"), GIB, 0)
        with pytest.raises(NotFound):
            await volumes.expand(volume_of("d"), GIB, 0)


async def test_a_group_that_is_moving_belongs_to_nobody_alone(
    kubernetes: Kubernetes, credentials: ClientCredentials
) -> None:
    """As the operator killed between two writes leaves it: "gone" would give the volumes up."""
    await kubernetes.storage_node("storage-1", volumeGroups=[group("a")])
    await kubernetes.storage_node("storage-2", volumeGroups=[group("a")])
    async with following(kubernetes, credentials) as membership:
        await until(lambda: ready(membership) and len(membership.hosts) == 2)
        with pytest.raises(Unavailable, match="belongs to storage-1 and storage-2"):
            await Volumes(membership).delete(volume_of("a"))
        await kubernetes.patch("storage-1", retired=True)
        await until(lambda: len(membership.hosts) == 1)
        assert membership.owner_or_refuse(volume_of("a")).entry.name == "storage-2"


async def test_nodes_are_those_where_the_driver_is_registered(
    kubernetes: Kubernetes, credentials: ClientCredentials
) -> None:
    await kubernetes.csi_node("compute-1", "other.example", names.DRIVER)
    await kubernetes.csi_node("compute-2", "other.example")
    membership = ClusterMembership(kubernetes.cluster(), credentials, zones=False)
    await membership.check_node("compute-1")
    for unknown in ("compute-2", "compute-3", "no/such?node"):
        with pytest.raises(NotFound, match="There is no node"):
            await membership.check_node(unknown)


async def test_a_node_that_was_there_is_there_while_the_api_server_is_away(
    kubernetes: Kubernetes, credentials: ClientCredentials, fake: FakeApi
) -> None:
    await kubernetes.csi_node("compute-1", names.DRIVER)
    await kubernetes.csi_node("compute-2", names.DRIVER)
    membership = ClusterMembership(kubernetes.cluster(), credentials, zones=False)
    await membership.check_node("compute-1")
    fake.down = True
    await membership.check_node("compute-1")
    with pytest.raises(Unavailable, match="API server"):
        await membership.check_node("compute-2")
    fake.down = False
    await kubernetes.delete(f"{CSI_NODES}/compute-1")
    with pytest.raises(NotFound):
        await membership.check_node("compute-1")


async def test_zones_are_those_of_the_storage_nodes(
    kubernetes: Kubernetes, credentials: ClientCredentials
) -> None:
    await kubernetes.storage_node("storage-1", zone="a")
    await kubernetes.storage_node("storage-2")
    async with following(kubernetes, credentials, zones=True) as membership:
        await until(lambda: ready(membership) and len(membership.hosts) == 2)
        assert membership.has_zones
        one, two = (host.entry for host in membership.hosts)
        assert (one.zone, one.closed) == ("a", "")
        assert "storage-2 takes no new volumes, as it is in no zone" in two.closed
    async with following(kubernetes, credentials) as membership:
        await until(lambda: ready(membership) and len(membership.hosts) == 2)
        assert {(host.entry.zone, host.entry.closed) for host in membership.hosts} == {("", "")}
