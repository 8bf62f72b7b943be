"""What happens to volumes where a node, a controller or the storage fails its users."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from tests.e2e.kubernetes.hosts import logical_volumes
from tests.e2e.kubernetes.manifests import (
    DATA,
    THICK,
    Object,
    claim,
    deployment,
    pod,
    storage_class,
)
from tests.e2e.kubernetes.user import User, until
from tests.e2e.lab.host import Host
from tests.e2e.lab.kubernetes import release
from tests.e2e.lab.kubernetes.cluster import Cluster

LOST_SECONDS = 180
"""Kubernetes calls a node lost when it has not heard of it for some 50 s."""

DELETED_SECONDS = 480
"""Kubernetes waits for a node that is no more for 6 minutes until it detaches its volumes."""

SHUTDOWN_SECONDS = 60
"""Half of what the kernel waits for a session that is gone."""

FENCED_SECONDS = 60
"""From the taint until the pod runs on another node, with what starting it takes in the lab."""

OUT_OF_SERVICE = "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute"


@pytest.fixture
def lost(cluster: Cluster) -> Iterator[Host]:
    """compute-2, which starts anew afterwards: its kernel waits for a volume that it lost."""
    host = cluster.host("compute-2")
    yield host
    if host.pid:
        host.cut()
    host.boot()
    cluster.insist("kubectl", "wait", "--for=create", "--timeout=120s", "node/compute-2")
    cluster.insist("kubectl", "label", "--overwrite", "node/compute-2", "lab=compute")
    cluster.kubectl("taint", "node", "compute-2", OUT_OF_SERVICE.split("=", maxsplit=1)[0] + "-")
    cluster.insist("kubectl", "wait", "--for=condition=Ready", "--timeout=180s", "node/compute-2")
    rollout = ("rollout", "status", "daemonset/csi-lvm-iscsi-node", "--timeout=180s")
    release.kubectl(cluster, *rollout)


def test_a_node_out_of_service_loses_its_volume_to_another(
    cluster: Cluster, user: User, lost: Host
) -> None:
    """Its kubelet hangs, but its session and its pod go on: so what it writes must not arrive."""
    before = _app_on(user, lost)
    writes = f"while date >{DATA}/time && sync; do sleep 0.1; done >/dev/null 2>&1 &"
    user.sh(before["metadata"]["name"], f"echo kept >{DATA}/file; sync; {writes}")
    assert _connections(cluster, lost)

    lost.exec("pkill", "-STOP", "-x", "kubelet").check()
    user.wait("condition=Ready=Unknown", "node/compute-2", seconds=LOST_SECONDS)
    user.kubectl("taint", "node", "compute-2", OUT_OF_SERVICE)
    begun = time.monotonic()
    after = until(lambda: _running_elsewhere(user, before), lambda: user.kubectl("get", "pods"))
    seconds = time.monotonic() - begun
    print(f"\n{seconds:.0f} s after the taint the pod runs on the other node")
    assert seconds < FENCED_SECONDS

    assert user.sh(after, f"cat {DATA}/file") == "kept"
    assert not _connections(cluster, lost), "the old node can still write"


def _connections(cluster: Cluster, node: Host) -> list[str]:
    """Those that storage hosts have from a node to tgtd."""
    question = ("ss", "--tcp", "--numeric", "--no-header", "sport", "=", ":3260")
    hosts = [host for host in cluster.hosts.values() if host.identity.kind == "storage"]
    lines = [line for host in hosts for line in host.exec(*question).check().text.splitlines()]
    return [line for line in lines if f"{node.identity.data_address}:" in line]


def _app_on(user: User, host: Host) -> Object:
    """The pod of a Deployment with a volume, which begins there but may go anywhere."""
    (other,) = {"compute-1", "compute-2"} - {host.name}
    user.kubectl("cordon", other)
    try:
        user.apply(claim("data"), deployment("app", "data"))
        user.await_rollout("deployment/app")
    finally:
        user.kubectl("uncordon", other)
    return user.pod_of("app")


def _running_elsewhere(user: User, before: Object) -> str:
    pods = user.get("pods")["items"]
    return next(
        (
            each["metadata"]["name"]
            for each in pods
            if each["metadata"]["name"] != before["metadata"]["name"]
            and each["status"]["phase"] == "Running"
        ),
        "",
    )


def test_a_node_without_power_that_is_deleted(user: User, lost: Host) -> None:
    before = _app_on(user, lost)
    user.sh(before["metadata"]["name"], f"echo kept >{DATA}/file; sync")
    lost.cut()
    user.kubectl("delete", "node", "compute-2")
    seconds = DELETED_SECONDS
    after = until(
        lambda: _running_elsewhere(user, before), lambda: user.kubectl("get", "pods"), seconds
    )
    assert user.sh(after, f"cat {DATA}/file") == "kept"


def test_a_node_shut_down_in_order(user: User, lost: Host) -> None:
    """What was written and not yet synced arrives, and nothing waits for a session to time out."""
    before = _app_on(user, lost)
    user.sh(before["metadata"]["name"], f"echo kept >{DATA}/file")
    begun = time.monotonic()
    lost.shut_down()
    assert time.monotonic() - begun < SHUTDOWN_SECONDS
    user.wait("condition=Ready=Unknown", "node/compute-2", seconds=LOST_SECONDS)
    user.kubectl("taint", "node", "compute-2", OUT_OF_SERVICE)
    after = until(lambda: _running_elsewhere(user, before), lambda: user.kubectl("get", "pods"))
    assert user.sh(after, f"cat {DATA}/file") == "kept"


def test_the_leader_killed_while_it_provisions(cluster: Cluster, user: User) -> None:
    names = [f"claim-{number}" for number in range(30)]
    leader = _leader(cluster)
    user.apply(*(claim(name) for name in names))
    until(lambda: _count_bound(user), lambda: "none is bound")
    kill = ("delete", f"pod/{leader}", "--grace-period=0", "--force")
    release.kubectl(cluster, *kill)
    assert _count_bound(user) < len(names), "it was killed too late"
    user.await_bound(*names, seconds=300)
    assert len(logical_volumes(cluster)) == len(names)
    rollout = ("rollout", "status", "deployment/csi-lvm-iscsi-controller", "--timeout=120s")
    release.kubectl(cluster, *rollout)


def _count_bound(user: User) -> int:
    claims = user.get("persistentvolumeclaims")["items"]
    return sum(each["status"]["phase"] == "Bound" for each in claims)


def _leader(cluster: Cluster) -> str:
    """The pod whose provisioner works."""
    lease = "lease/csi-lvm-iscsi-github-io"
    get = ("get", lease, "--output=json")
    holder: str = json.loads(release.kubectl(cluster, *get))["spec"]["holderIdentity"]
    pods = ("get", "pods", "--output=name")
    names = [name.partition("/")[2] for name in release.kubectl(cluster, *pods).split()]
    return next(name for name in names if name in holder)


def test_wrong_parameters_are_told(user: User) -> None:
    wrong = storage_class(f"wrong-{user.namespace}", {"provisoner": "thin"})
    user.apply(wrong, claim("wanted", storage_class=wrong["metadata"]["name"]))
    try:
        message = user.await_message("pvc/wanted", "provisoner")
        assert "provisioner" in message  # what it may have meant
    finally:
        user.delete(f"storageclass/{wrong['metadata']['name']}")


def test_a_claim_waits_for_space_and_gets_it(cluster: Cluster, user: User) -> None:
    free = min(_thick_free(cluster, host) for host in ("storage-1", "storage-2"))
    size = str(int(free * 0.8))
    fillers = ["filler-1", "filler-2"]
    user.apply(*(claim(name, size=size, storage_class=THICK, block=True) for name in fillers))
    user.await_bound(*fillers)
    user.apply(claim("waits", size=size, storage_class=THICK, block=True))
    assert "vgextend" in user.await_message("pvc/waits", "no room")
    user.delete("pvc/filler-1")
    user.await_bound("waits", seconds=300)


def _thick_free(cluster: Cluster, host: str) -> int:
    question = ("vgs", "--noheadings", "--units=b", "--nosuffix", "-o", "vg_free", "vg0")
    return int(cluster.host(host).exec(*question).check().text)


def test_a_pod_on_a_node_that_storage_does_not_reach_says_so(user: User, cluster: Cluster) -> None:
    """The way to the volume's storage host is cut: the pod's event names that host."""
    user.apply(claim("data"))
    user.await_bound("data")
    name = user.volume_of("data")["metadata"]["name"]
    host = cluster.host(logical_volumes(cluster)[_logical_volume(cluster, name)])
    host.partition()
    try:
        user.apply(pod("app", "data", node="compute-1"))
        assert user.await_message("pod/app", host.name)
    finally:
        host.heal()
    user.await_pods("app", seconds=300)
    assert user.sh("app", f"df {DATA}")


def _logical_volume(cluster: Cluster, volume: str) -> str:
    return next(name for name in logical_volumes(cluster) if volume in name)
