"""Volume groups that turn up on another host: whose they are, at every moment."""

from __future__ import annotations

import pytest

from csi_lvm_iscsi.rpc.tls import ClientCredentials
from tests.unit.cluster.operating import Operator, condition, group, groups_of, operating
from tests.unit.cluster.storage_hosts import UUIDS
from tests.unit.cluster.world import Kubernetes, NewHost


async def test_a_new_server_of_the_same_name_with_the_disks_goes_on(
    kubernetes: Kubernetes, operator: Operator, new_host: NewHost
) -> None:
    await operator.follow_endpoints(old := await new_host("storage-1", "a"))
    await operator.settle()
    before = (await kubernetes.read("storage-1"))["spec"]
    await old.stop()
    await operator.look()
    await operator.follow_endpoints(await new_host("storage-1", "a"))
    await operator.settle()
    node = await kubernetes.read("storage-1")
    assert condition(node, "Ready")["status"] == "True"
    assert node["spec"] == before


async def test_another_host_that_has_the_disks_of_a_silent_one_gets_a_conflict(
    kubernetes: Kubernetes, operator: Operator, new_host: NewHost
) -> None:
    old, new = await new_host("storage-1", "a"), await new_host("storage-2")
    await operator.follow_endpoints(old, new)
    await operator.settle()
    await old.stop()
    new.groups[UUIDS["a"]] = "vg-a"
    await operator.settle()
    node = await kubernetes.read("storage-2")
    conflict = condition(node, "VolumeGroupConflict")
    assert (conflict["status"], conflict["reason"]) == ("True", "AnotherHostHasIt")
    assert "belongs to storage-1, which does not answer" in conflict["message"]
    assert not node["spec"].get("volumeGroups")
    assert "AnotherHostHasIt" in await kubernetes.events("storage-2")
    # The explicit act: the old host is given up, and its disks are the new one's.
    await kubernetes.patch("storage-1", retired=True)
    await operator.settle()
    node = await kubernetes.read("storage-2")
    assert node["spec"]["volumeGroups"] == [group("a")]
    assert condition(node, "VolumeGroupConflict")["status"] == "False"
    node = await kubernetes.read("storage-1")
    assert node["spec"]["volumeGroups"] == []
    assert "no volume group belongs to it" in condition(node, "Ready")["message"]


async def test_killed_in_the_middle_of_a_move_the_next_one_goes_on(
    kubernetes: Kubernetes, credentials: ClientCredentials, new_host: NewHost
) -> None:
    old, new = await new_host("storage-1", "a"), await new_host("storage-2")
    async with operating(kubernetes, credentials) as first:
        await first.follow_endpoints(old, new)
        await first.settle()
        new.groups, old.groups = old.groups, {}
        await first.look()
    owners = [await groups_of(kubernetes, name) for name in ("storage-1", "storage-2")]
    assert owners == [[group("a")], [group("a")]]
    async with operating(kubernetes, credentials) as second:
        await second.settle()
    owners = [await groups_of(kubernetes, name) for name in ("storage-1", "storage-2")]
    assert owners == [[], [group("a")]]


async def test_a_group_whose_former_host_has_its_name_anew_always_belongs_to_a_host(
    kubernetes: Kubernetes, operator: Operator, new_host: NewHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The former comes first by name, and the new one cannot be written at first."""
    old, new = await new_host("storage-1", "a"), await new_host("storage-2")
    await operator.follow_endpoints(old, new)
    await operator.settle()
    stale = operator.cluster.storage_nodes()
    await kubernetes.patch("storage-2", schedulable=False)
    old.groups, new.groups = {UUIDS["b"]: "vg-a"}, old.groups
    with monkeypatch.context() as patched:
        patched.setattr(operator.cluster, "storage_nodes", lambda: stale)
        assert not await operator.nodes.look()
    assert await groups_of(kubernetes, "storage-1") == [group("a")]
    await operator.look()
    assert await groups_of(kubernetes, "storage-2") == [group("a")]
    assert await groups_of(kubernetes, "storage-1") == [{**group("a"), "uuid": UUIDS["b"]}]
