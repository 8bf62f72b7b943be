"""Storage hosts as an administrator sees and directs them: StorageNode objects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.kubernetes.hosts import logical_volumes
from tests.e2e.kubernetes.manifests import DATA, THICK, claim, pod, storage_class
from tests.e2e.kubernetes.user import PATIENCE, User, until
from tests.e2e.lab.host import Host
from tests.e2e.lab.kubernetes import release
from tests.e2e.lab.kubernetes.cluster import Cluster

CORDONED = "storage-1"
BOOT_PATIENCE = 300
"""Seconds: until a host and its pods are up."""

LABEL = release.STORAGE_LABEL.partition("=")[0]
SIZE_BYTES = 64 * 2**20
"""Of a claim that does not say it."""


@pytest.fixture
def cordoned(cluster: Cluster) -> Iterator[str]:
    """A storage host that is to get no new volumes."""
    _patch(cluster, CORDONED, schedulable=False)
    yield CORDONED
    _patch(cluster, CORDONED, schedulable=True)


def _patch(cluster: Cluster, host: str, **spec: bool) -> None:
    patch = json.dumps({"spec": spec})
    cluster.insist("kubectl", "patch", f"storagenode/{host}", "--type=merge", f"--patch={patch}")


def test_storage_hosts_tell_how_full_they_are(user: User) -> None:
    table = user.kubectl("get", "storagenodes")
    assert [line.split()[0] for line in table.splitlines()] == ["NAME", "storage-1", "storage-2"]
    before = _free_extents(user)
    user.apply(claim("thick", storage_class=THICK))
    user.await_bound("thick")
    until(
        lambda: before - _free_extents(user) == SIZE_BYTES,
        lambda: f"{_free_extents(user)} B are free of {before}",
    )


def _free_extents(user: User) -> int:
    """The bytes that the hosts' volume groups have for thick volumes."""
    hosts = user.get("storagenodes")["items"]
    pools = [pool for host in hosts for pool in host["status"]["pools"]]
    return sum(pool["freeBytes"] for pool in pools if pool["type"] == "thick")


def test_a_cordoned_host_gets_no_volumes(cluster: Cluster, user: User, cordoned: str) -> None:
    names = [f"claim-{number}" for number in range(4)]
    user.wait("jsonpath={.spec.schedulable}=false", f"storagenode/{cordoned}")
    user.apply(*(claim(name) for name in names))
    user.await_bound(*names)
    assert set(logical_volumes(cluster).values()) == {"storage-2"}


def test_a_host_with_volumes_is_not_deleted(cluster: Cluster, user: User) -> None:
    user.apply(claim("data"))
    user.await_bound("data")
    (host,) = logical_volumes(cluster).values()
    until(lambda: user.get(f"storagenode/{host}")["status"].get("volumes"), lambda: "no count")
    refused = cluster.kubectl("delete", f"storagenode/{host}")
    assert refused.returncode != 0
    assert "retired" in refused.stderr, refused.stderr


def test_a_host_is_looked_at_before_the_driver_is_there(cluster: Cluster, user: User) -> None:
    """As docs/operations.md has it. It is there, but nothing of it is in this pod."""
    image = cluster.insist(
        "kubectl", "--namespace", release.NAMESPACE, "get", "daemonset/csi-lvm-iscsi-storage",
        "--output=jsonpath={.spec.template.spec.containers[0].image}",
    )  # fmt: skip
    said = user.kubectl(
        "debug", f"node/{CORDONED}", "--profile=sysadmin", "--attach", "--quiet", "--stdin=false",
        f"--image={image}", "--", "csi-lvm-iscsi", "doctor", "storage", waits=PATIENCE,
    )  # fmt: skip
    assert said.splitlines()[-1].endswith(" 0 error"), said
    assert "vg0/pool" in said


@pytest.fixture
def near(user: User) -> Iterator[str]:
    """A class whose volumes are on the host that is cordoned later."""
    made = storage_class(f"near-{user.namespace}", {"storageHost": CORDONED})
    user.apply(made)
    yield made["metadata"]["name"]
    user.delete(f"storageclass/{made['metadata']['name']}")


@pytest.fixture
def in_service(cluster: Cluster) -> Iterator[None]:
    """The host is in service again in the end."""
    yield
    cluster.insist("kubectl", "label", f"node/{CORDONED}", "--overwrite", release.STORAGE_LABEL)
    until(lambda: _has_storage_node(cluster), lambda: "no StorageNode")
    _patch(cluster, CORDONED, schedulable=True, retired=False)
    cluster.insist("kubectl", "wait", "--for=condition=Ready", f"storagenode/{CORDONED}")


@pytest.mark.usefixtures("in_service")
def test_a_host_is_drained_and_taken_out_of_service(
    cluster: Cluster, user: User, near: str
) -> None:
    """As docs/storage-hosts.md has it."""
    user.apply(claim("data", storage_class=near), pod("writer", "data"))
    user.await_pods("writer")
    user.sh("writer", f"echo moved >{DATA}/file; sync")
    user.delete("pod/writer")
    _patch(cluster, CORDONED, schedulable=False)
    user.wait("jsonpath={.spec.schedulable}=false", f"storagenode/{CORDONED}")

    user.apply(claim("data-2", source=("PersistentVolumeClaim", "data")), pod("reader", "data-2"))
    user.await_pods("reader")
    assert user.sh("reader", f"cat {DATA}/file") == "moved"
    volume = user.volume_of("data")["metadata"]["name"]
    user.delete("pvc/data")
    user.wait("delete", f"pv/{volume}")
    assert set(logical_volumes(cluster).values()) == {"storage-2"}
    user.wait("jsonpath={.status.volumes}=0", f"storagenode/{CORDONED}")

    cluster.insist("kubectl", "label", f"node/{CORDONED}", f"{LABEL}-")
    until(lambda: not _pods(cluster), lambda: f"{_pods(cluster)}")
    _patch(cluster, CORDONED, retired=True)
    cluster.insist("kubectl", "delete", f"storagenode/{CORDONED}")
    assert not _has_storage_node(cluster)
    assert user.sh("reader", f"cat {DATA}/file") == "moved"


def test_the_disks_of_a_lost_host_in_another_server(
    cluster: Cluster, user: User, near: str
) -> None:
    """As docs/storage-hosts.md has it: the other gets them when the lost one is given up."""
    lost, other = cluster.host(CORDONED), cluster.host("storage-2")
    user.apply(claim("data", storage_class=near), pod("writer", "data", node="compute-1"))
    user.await_pods("writer")
    user.sh("writer", f"echo moved >{DATA}/file; sync")
    user.delete("pod/writer")
    user.await_detached()
    with _disks_in(cluster, lost, other):
        conflict, place = "condition=VolumeGroupConflict", f"storagenode/{other.name}"
        user.wait(conflict, place, seconds=BOOT_PATIENCE)
        assert f"belongs to {lost.name}, which does not answer" in _conflict(user, other)
        _patch(cluster, lost.name, retired=True)
        user.wait(f"{conflict}=False", place)
        user.apply(pod("reader", "data", node="compute-1"))
        user.await_pods("reader")
        assert user.sh("reader", f"cat {DATA}/file") == "moved"
        user.delete("pod/reader")
        user.await_detached()
    assert set(logical_volumes(cluster).values()) == {lost.name}


@contextmanager
def _disks_in(cluster: Cluster, lost: Host, other: Host) -> Iterator[None]:
    """A host is off, and its disks are in another, whose own are out. All is as before then."""

    def exchange() -> None:
        aside = lost.data_disk.with_suffix(".aside")
        lost.data_disk.rename(aside)
        other.data_disk.rename(lost.data_disk)
        aside.rename(other.data_disk)

    for host in (lost, other):
        host.shut_down()
    exchange()
    other.boot()
    try:
        yield
    finally:
        other.shut_down()
        exchange()
        for host in (lost, other):
            host.power_on()
        _patch(cluster, lost.name, retired=False)
        nodes = [f"storagenode/{host.name}" for host in (lost, other)]
        for condition in ("Ready", "VolumeGroupConflict=False"):
            wait = ("wait", f"--for=condition={condition}", f"--timeout={BOOT_PATIENCE}s")
            cluster.insist("kubectl", *wait, *nodes, timeout=2 * BOOT_PATIENCE)


def _conflict(user: User, host: Host) -> str:
    conditions = user.get(f"storagenode/{host.name}")["status"]["conditions"]
    messages = {each["type"]: str(each["message"]) for each in conditions}
    return messages["VolumeGroupConflict"]


def _has_storage_node(cluster: Cluster) -> bool:
    found = ("get", f"storagenode/{CORDONED}", "--ignore-not-found", "--output=name")
    return bool(cluster.insist("kubectl", *found))


def _pods(cluster: Cluster) -> str:
    """Those of storage and tgtd on the host."""
    roles = "app.kubernetes.io/component in (storage,tgtd)"
    place = (f"--namespace={release.NAMESPACE}", f"--field-selector=spec.nodeName={CORDONED}")
    return cluster.insist("kubectl", "get", "pods", *place, f"--selector={roles}", "--output=name")
