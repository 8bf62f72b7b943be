"""The operator: StorageNodes for the hosts that are there, and what they tell of themselves."""

from __future__ import annotations

import asyncio

import pytest

from csi_lvm_iscsi.rpc.tls import ClientCredentials
from tests.unit.cluster.fake_api import FakeApi
from tests.unit.cluster.operating import Operator, condition, group, groups_of, operating
from tests.unit.cluster.storage_hosts import GIB, UUIDS
from tests.unit.cluster.world import NODES, Kubernetes, NewHost, until


async def test_a_host_that_is_met_gets_a_storage_node(
    kubernetes: Kubernetes, operator: Operator, new_host: NewHost
) -> None:
    await operator.follow_endpoints(host := await new_host("storage-1", "a", "b"))
    await operator.settle()
    node = await kubernetes.read("storage-1")
    assert node["spec"] == {
        "schedulable": True,
        "retired": False,
        "volumeGroups": [group("a"), group("b")],
    }
    status = node["status"]
    assert status["observedGeneration"] == node["metadata"]["generation"]
    assert status["address"].endswith(f":{host.port}")
    assert (status["version"], status["portals"]) == ("0.1.0", ["192.0.2.1:3260"])
    assert (status["volumes"], status["usedPercent"]) == (3, 25)
    assert (status["capacityBytes"], status["freeBytes"]) == (16 * GIB, 12 * GIB)
    assert (status["capacity"], status["free"], status["used"]) == ("16GiB", "12GiB", "25%")
    assert status["reclaiming"] == "0B"
    assert status["pools"][0] == {
        "name": "vg-a/pool",
        "type": "thin",
        "sizeBytes": 8 * GIB,
        "freeBytes": 6 * GIB,
        "dataPercent": 25,
        "metadataPercent": 1.5,
    }
    told = [(each["type"], each["status"], each["reason"]) for each in status["conditions"]]
    assert told == [
        ("Ready", "True", "Answering"),
        ("PoolsHealthy", "True", "AsExpected"),
        ("VolumeGroupConflict", "False", "AsExpected"),
    ]
    assert await kubernetes.events("storage-1") == ["VolumeGroupAdded", "VolumeGroupAdded"]


async def test_nothing_is_written_while_nothing_changes(
    kubernetes: Kubernetes, operator: Operator, new_host: NewHost
) -> None:
    await operator.follow_endpoints(host := await new_host("storage-1", "a"))
    await operator.settle()
    before = await kubernetes.read("storage-1")
    for _ in range(3):
        assert await operator.look()
    assert await kubernetes.read("storage-1") == before
    host.used = 50
    await operator.look()
    after = await kubernetes.read("storage-1")
    assert after["status"]["usedPercent"] == 50
    # Nothing happened to the conditions: they are since when they were.
    assert after["status"]["conditions"] == before["status"]["conditions"]


async def test_a_host_that_stays_away_is_written_of_once(
    operator: Operator, new_host: NewHost, fake: FakeApi
) -> None:
    """However the words differ in which gRPC tells of it each time."""
    await operator.follow_endpoints(host := await new_host("storage-1", "a"))
    await operator.settle()
    await host.stop()
    await operator.look()
    before = len(fake.requests)
    for _ in range(4):
        await operator.look()
        await asyncio.sleep(0.4)  # the channel goes through its states meanwhile
    assert [each for each in fake.requests[before:] if each[0] != "GET"] == []


async def test_of_a_retired_host_it_is_said_what_to_do(
    kubernetes: Kubernetes, operator: Operator, new_host: NewHost
) -> None:
    await operator.follow_endpoints(host := await new_host("storage-1", "a"))
    await operator.settle()
    await kubernetes.patch("storage-1", retired=True)
    await operator.settle()
    ready = condition(await kubernetes.read("storage-1"), "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "Retired")
    assert "it still answers" in ready["message"]
    assert operator.nodes.looks.conditions == {}
    await host.stop()
    await operator.settle()
    ready = condition(await kubernetes.read("storage-1"), "Ready")
    assert "still answers" not in ready["message"]
    assert "kubectl delete storagenode storage-1" in ready["message"]
    # A mistake is taken back: nothing was lost.
    await host.start()
    await operator.follow_endpoints(host)
    await kubernetes.patch("storage-1", retired=False)
    await operator.settle()
    assert condition(await kubernetes.read("storage-1"), "Ready")["status"] == "True"
    assert await groups_of(kubernetes, "storage-1") == [group("a")]


async def test_what_users_set_stays(
    kubernetes: Kubernetes, operator: Operator, new_host: NewHost
) -> None:
    await operator.follow_endpoints(host := await new_host("storage-1", "a"))
    await operator.settle()
    await kubernetes.patch("storage-1", schedulable=False)
    host.groups[UUIDS["b"]] = "vg-b"
    await operator.settle()
    node = await kubernetes.read("storage-1")
    assert node["spec"]["schedulable"] is False
    assert node["spec"]["volumeGroups"] == [group("a"), group("b")]
    assert node["status"]["observedGeneration"] == node["metadata"]["generation"]


async def test_a_host_that_is_gone_keeps_all_but_its_readiness(
    kubernetes: Kubernetes, operator: Operator, new_host: NewHost
) -> None:
    await operator.follow_endpoints(host := await new_host("storage-1", "a"))
    await operator.settle()
    before = await kubernetes.read("storage-1")
    await host.stop()
    await operator.look()
    node = await kubernetes.read("storage-1")
    ready = condition(node, "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "Unreachable")
    assert condition(node, "PoolsHealthy")["status"] == "Unknown"
    assert node["spec"] == before["spec"]
    assert node["status"]["pools"] == before["status"]["pools"]
    await operator.follow_endpoints()
    await operator.look()
    node = await kubernetes.read("storage-1")
    assert "has no running storage pod" in condition(node, "Ready")["message"]
    assert condition(node, "Ready")["lastTransitionTime"] == ready["lastTransitionTime"]
    assert node["status"]["address"] == ""
    # It is back, elsewhere.
    await host.start()
    await operator.follow_endpoints(host)
    await operator.look()
    node = await kubernetes.read("storage-1")
    assert condition(node, "Ready")["status"] == "True"
    assert node["status"]["address"].endswith(f":{host.port}")
    events = await kubernetes.events("storage-1")
    assert events == ["VolumeGroupAdded", "Unreachable", "Answering"]


async def test_a_full_pool_and_a_dead_tgtd_are_told(
    kubernetes: Kubernetes, operator: Operator, new_host: NewHost
) -> None:
    await operator.follow_endpoints(host := await new_host("storage-1", "a"))
    await operator.settle()
    host.stopped = "Nothing is made in thin pool vg-a/pool: extend it."
    host.problems = ("tgtd does not run.",)
    await operator.look()
    node = await kubernetes.read("storage-1")
    pools, ready = condition(node, "PoolsHealthy"), condition(node, "Ready")
    assert (pools["status"], pools["reason"], pools["message"]) == (
        "False",
        "PoolFull",
        host.stopped,
    )
    assert (ready["reason"], ready["message"]) == ("NotReady", "tgtd does not run.")
    host.stopped, host.problems = "", ()
    await operator.look()
    events = await kubernetes.events("storage-1")
    assert sorted(events[1:3]) == ["NotReady", "PoolFull"]
    assert sorted(events[3:]) == ["Answering", "AsExpected"]


async def test_a_write_that_was_overtaken_is_made_anew(
    kubernetes: Kubernetes, operator: Operator, new_host: NewHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    await operator.follow_endpoints(host := await new_host("storage-1", "a"))
    await operator.settle()
    stale = operator.cluster.storage_nodes()
    await kubernetes.patch("storage-1", schedulable=False)
    host.groups[UUIDS["b"]] = "vg-b"
    with monkeypatch.context() as patched:
        patched.setattr(operator.cluster, "storage_nodes", lambda: stale)
        assert not await operator.nodes.look()
    assert await groups_of(kubernetes, "storage-1") == [group("a")]
    await operator.settle()
    assert await groups_of(kubernetes, "storage-1") == [group("a"), group("b")]
    assert (await kubernetes.read("storage-1"))["spec"]["schedulable"] is False


async def test_the_zone_is_that_of_the_node_at_first(
    kubernetes: Kubernetes, credentials: ClientCredentials, new_host: NewHost
) -> None:
    await kubernetes.node("storage-1", **{"topology.kubernetes.io/zone": "hall-1"})
    await kubernetes.node("storage-2")
    async with operating(kubernetes, credentials, zones=True) as operator:
        await operator.follow_endpoints(await new_host("storage-1"), await new_host("storage-2"))
        await operator.settle()
        assert (await kubernetes.read("storage-1"))["spec"]["zone"] == "hall-1"
        assert "zone" not in (await kubernetes.read("storage-2"))["spec"]
        # Volumes were made there: what is in a zone stays in it.
        await kubernetes.patch("storage-1", zone="hall-2")
        await operator.settle()
        assert (await kubernetes.read("storage-1"))["spec"]["zone"] == "hall-2"


async def test_a_host_whose_node_is_gone_is_told_of_though_it_has_no_zone(
    kubernetes: Kubernetes, credentials: ClientCredentials, new_host: NewHost
) -> None:
    await kubernetes.node("storage-1")
    async with operating(kubernetes, credentials, zones=True) as operator:
        await operator.follow_endpoints(host := await new_host("storage-1", "a"))
        await operator.settle()
        assert await _is_ready(kubernetes, "storage-1")
        await kubernetes.delete(f"{NODES}/storage-1")
        await host.stop()
        await operator.follow_endpoints()
        assert await operator.look()
        assert not await _is_ready(kubernetes, "storage-1")


async def test_a_change_is_seen_at_once(
    kubernetes: Kubernetes, credentials: ClientCredentials, new_host: NewHost
) -> None:
    """Long before the interval of 30 s is over; and its own writes do not count as one."""
    async with operating(kubernetes, credentials) as operator:
        running = asyncio.create_task(operator.nodes.run())
        await kubernetes.endpoints(await new_host("storage-1", "a"))
        await until(lambda: _is_ready(kubernetes, "storage-1"))
        await kubernetes.patch("storage-1", schedulable=False)
        await until(lambda: _has_observed(kubernetes, "storage-1"))
        running.cancel()
        await asyncio.wait({running})


async def test_a_fill_is_seen_within_the_interval(
    kubernetes: Kubernetes, credentials: ClientCredentials, new_host: NewHost, fake: FakeApi
) -> None:
    """And as long as nothing changes, nothing is written, nor asked of the API server."""
    async with operating(kubernetes, credentials) as operator:
        operator.nodes._interval = 0.2
        running = asyncio.create_task(operator.nodes.run())
        await kubernetes.endpoints(host := await new_host("storage-1", "a"))
        await until(lambda: _is_ready(kubernetes, "storage-1"))
        await until(lambda: _has_observed(kubernetes, "storage-1"))
        looked, before = operator.nodes.looks.looked_at, len(fake.requests)
        await until(lambda: operator.nodes.looks.looked_at > looked + 1)
        assert fake.requests[before:] == []
        host.used = 75
        await until(lambda: _is_used(kubernetes, "storage-1", "75%"))
        running.cancel()
        await asyncio.wait({running})


async def _is_used(kubernetes: Kubernetes, name: str, used: str) -> bool:
    return bool((await kubernetes.read(name))["status"]["used"] == used)


async def test_no_event_is_no_obstacle(
    kubernetes: Kubernetes, operator: Operator, new_host: NewHost, fake: FakeApi
) -> None:
    fake.refused = {"/api/v1/namespaces/default/events"}
    await operator.follow_endpoints(await new_host("storage-1", "a"))
    await operator.settle()
    assert await groups_of(kubernetes, "storage-1") == [group("a")]


async def _is_ready(kubernetes: Kubernetes, name: str) -> bool:
    node = await kubernetes.read(name)
    return "status" in node and condition(node, "Ready")["status"] == "True"


async def _has_observed(kubernetes: Kubernetes, name: str) -> bool:
    node = await kubernetes.read(name)
    return bool(node["status"]["observedGeneration"] == node["metadata"]["generation"])
