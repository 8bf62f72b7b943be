"""What users do with volumes, from claim to data."""

from __future__ import annotations

import pytest

from tests.e2e.kubernetes.manifests import (
    DATA,
    DEVICE,
    claim,
    deployment,
    pod,
    pod_with_volume_of_its_own,
    snapshot,
    stateful_set,
    storage_class,
)
from tests.e2e.kubernetes.user import User, until

FIRST, SECOND = "compute-1", "compute-2"
GROWN_KIB = 100 * 1024


def test_data_follows_a_pod_that_is_drained_away(user: User) -> None:
    user.apply(claim("data"), deployment("app", "data"))
    user.await_bound("data")
    user.await_rollout("deployment/app")
    before = user.pod_of("app")
    node = before["spec"]["nodeName"]
    user.sh(before["metadata"]["name"], f"echo here before >{DATA}/file; sync")
    drain = ("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--force")
    try:
        user.kubectl(*drain, "--pod-selector=app=app", "--timeout=60s")
        user.await_rollout("deployment/app")
        after = user.pod_of("app")
        assert after["spec"]["nodeName"] != node
        assert user.sh(after["metadata"]["name"], f"cat {DATA}/file") == "here before"
    finally:
        user.kubectl("uncordon", node)


def test_raw_block_is_the_same_on_another_node(user: User) -> None:
    user.apply(claim("disk", block=True), pod("writer", "disk", node=FIRST, block=True))
    user.await_pods("writer")
    write = f"echo raw | dd of={DEVICE} bs=512 conv=sync; dd if={DEVICE} bs=4 count=1 2>/dev/null"
    assert user.sh("writer", write) == "raw"
    user.delete("pod/writer")
    user.apply(pod("reader", "disk", node=SECOND, block=True))
    user.await_pods("reader")
    assert user.sh("reader", f"dd if={DEVICE} bs=4 count=1 2>/dev/null") == "raw"


def test_a_volume_for_one_pod_is_refused_to_another(user: User) -> None:
    user.apply(claim("own", mode="ReadWriteOncePod"), pod("first", "own", node=FIRST))
    user.await_pods("first")
    user.apply(pod("second", "own", node=FIRST))
    user.await_message("pod/second", "ReadWriteOncePod")
    assert user.get("pod/second")["status"]["phase"] == "Pending"


@pytest.mark.parametrize("block", [False, True])
def test_a_volume_grows_under_a_running_pod(user: User, *, block: bool) -> None:
    user.apply(claim("grows", block=block), pod("app", "grows", block=block))
    user.await_pods("app")
    user.grow("grows", "128Mi")
    user.wait("jsonpath={.status.capacity.storage}=128Mi", "pvc/grows")
    size = f"blockdev --getsize64 {DEVICE}" if block else f"df -k {DATA} | awk 'END {{print $2}}'"
    until(
        lambda: int(user.sh("app", size)) // (1024 if block else 1) > GROWN_KIB,
        lambda: user.sh("app", size),
    )
    (container,) = user.get("pod/app")["status"]["containerStatuses"]
    assert container["restartCount"] == 0


def test_snapshot_restored_cloned_and_read_by_many(user: User) -> None:
    user.apply(claim("origin"), pod("writer", "origin"))
    user.await_pods("writer")
    user.sh("writer", f"echo first >{DATA}/file; sync")
    user.apply(snapshot("moment", "origin"))
    user.wait("jsonpath={.status.readyToUse}=true", "volumesnapshot/moment")
    user.sh("writer", f"echo second >{DATA}/file; sync")
    user.apply(
        claim("restored", source=("VolumeSnapshot", "moment")),
        claim("many", mode="ReadOnlyMany", source=("VolumeSnapshot", "moment")),
        claim("cloned", source=("PersistentVolumeClaim", "origin")),
        pod("restored", "restored"),
        pod("cloned", "cloned"),
        pod("reader-1", "many", node=FIRST, read_only=True),
        pod("reader-2", "many", node=SECOND, read_only=True),
    )
    user.await_pods("restored", "cloned", "reader-1", "reader-2")
    files = {each: user.sh(each, f"cat {DATA}/file") for each in ("restored", "cloned")}
    assert files == {"restored": "first", "cloned": "second"}
    for reader in ("reader-1", "reader-2"):
        assert user.sh(reader, f"cat {DATA}/file") == "first"
        assert "Read-only" in user.sh(reader, f"touch {DATA}/file 2>&1 || true")


def test_a_stateful_set_comes_back_to_its_data(user: User) -> None:
    user.apply(stateful_set("db", 5))
    user.await_rollout("statefulset/db")
    pods = [f"db-{number}" for number in range(5)]
    claims = {each: user.volume_id(f"volume-{each}") for each in pods}
    user.kubectl("scale", "statefulset/db", "--replicas=0")
    user.wait("delete", *(f"pod/{each}" for each in pods))
    user.kubectl("scale", "statefulset/db", "--replicas=5")
    user.await_rollout("statefulset/db")
    assert {each: user.sh(each, f"cat {DATA}/name") for each in pods} == {e: e for e in pods}
    assert {each: user.volume_id(f"volume-{each}") for each in pods} == claims


def test_a_volume_that_lives_and_ends_with_its_pod(user: User) -> None:
    """Its class waits for the pod, so that the scheduler has a say: it must find room."""
    late = storage_class(f"late-{user.namespace}", {"provisioner": "thin"}, late=True)
    user.apply(late, pod_with_volume_of_its_own("app", late["metadata"]["name"]))
    try:
        user.await_pods("app")
        assert user.sh("app", f"echo here >{DATA}/file && cat {DATA}/file") == "here"
        user.delete("pod/app")
        user.wait("delete", "pvc/app-volume")
    finally:
        user.delete(f"storageclass/{late['metadata']['name']}")
