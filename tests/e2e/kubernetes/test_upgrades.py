"""The chart is upgraded, taken away and installed again, under pods that use volumes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.kubernetes.hosts import logical_volumes
from tests.e2e.kubernetes.manifests import DATA, DEVICE, claim, deployment, pod
from tests.e2e.kubernetes.user import User, until
from tests.e2e.lab.kubernetes import release
from tests.e2e.lab.kubernetes.cluster import Cluster

VERIFYING_WRITER = f"""\
trap exit TERM
n=0
while :; do
    n=$((n + 1))
    place=$((n % 1000))
    echo $n | dd of={DEVICE} bs=512 seek=$place conv=sync,notrunc oflag=direct 2>/tmp/said ||
        echo "write $n failed: $(cat /tmp/said)"
    read=$(dd if={DEVICE} bs=512 skip=$place count=1 iflag=direct 2>/tmp/said | head -n 1)
    [ "$read" = $n ] || echo "block $place has '$read' instead of $n: $(cat /tmp/said)"
    echo $n >/tmp/written
done
"""
"""Says what went wrong, and nothing else."""


@pytest.fixture
def as_before(cluster: Cluster) -> Iterator[None]:
    """The chart with the lab's own values again."""
    yield
    release.upgrade(cluster, {})


@pytest.mark.usefixtures("as_before")
def test_an_upgrade_under_a_verifying_writer(cluster: Cluster, user: User) -> None:
    """All roles' pods are replaced, and then tgtd's, for which an administrator has to ask."""
    writer = pod("writer", "disk", script=VERIFYING_WRITER, block=True, node="compute-1")
    user.apply(claim("disk", block=True), writer)
    user.await_pods("writer")
    before = _pods(cluster)
    _await_progress(user)

    release.upgrade(cluster, {"verbose": True})
    _await_rollouts(cluster)
    roles, tgtds = _split(before)
    # Those that are replaced may still be ending.
    until(lambda: not set(roles) & set(_pods(cluster)), lambda: f"old: {_pods(cluster)}")
    assert set(tgtds) <= set(_pods(cluster)), "tgtd was ended, which makes volumes wait"
    _await_progress(user)

    for tgtd in tgtds:
        release.kubectl(cluster, "delete", f"pod/{tgtd}")
    _await_rollouts(cluster)
    assert not set(tgtds) & set(_pods(cluster))
    _await_progress(user)
    assert user.kubectl("logs", "writer") == ""
    (container,) = user.get("pod/writer")["status"]["containerStatuses"]
    assert container["restartCount"] == 0


def _await_progress(user: User) -> None:
    """Until some blocks more have been written and read."""
    begun = _written(user)
    until(lambda: _written(user) > begun + 20, lambda: f"{_written(user)} after {begun}")


def _written(user: User) -> int:
    return int(user.sh("writer", "cat /tmp/written 2>/dev/null || echo 0") or 0)


def _pods(cluster: Cluster) -> list[str]:
    names = release.kubectl(cluster, "get", "pods", "--output=name").split()
    return [name.removeprefix("pod/") for name in names if "bootstrap" not in name]


def _split(pods: list[str]) -> tuple[list[str], list[str]]:
    tgtds = [name for name in pods if "tgtd" in name]
    return [name for name in pods if name not in tgtds], tgtds


def _await_rollouts(cluster: Cluster) -> None:
    kinds = "deployments,daemonsets"
    for workload in release.kubectl(cluster, "get", kinds, "--output=name").split():
        if "tgtd" in workload:  # OnDelete, of which `rollout status` knows nothing
            _await_ready(cluster, workload)
        else:
            release.kubectl(cluster, "rollout", "status", workload, "--timeout=180s")


def _await_ready(cluster: Cluster, daemon_set: str) -> None:
    until(lambda: _is_ready(cluster, daemon_set), lambda: f"{daemon_set} is not ready")


def _is_ready(cluster: Cluster, daemon_set: str) -> bool:
    numbers = "{.status.numberReady} {.status.desiredNumberScheduled}"
    ready, desired = release.kubectl(
        cluster, "get", daemon_set, f"--output=jsonpath={numbers}"
    ).split()
    return ready == desired


def test_volumes_outlive_the_chart(cluster: Cluster, user: User) -> None:
    """Uninstalled and installed again, the driver knows its volumes and their keys."""
    user.apply(claim("data"), deployment("app", "data"))
    user.await_rollout("deployment/app")
    user.sh(user.pod_of("app")["metadata"]["name"], f"echo kept >{DATA}/file; sync")
    user.kubectl("scale", "deployment/app", "--replicas=0")
    user.await_detached()
    volumes = logical_volumes(cluster)

    cluster.insist("helm", "uninstall", release.NAME, f"--namespace={release.NAMESPACE}", "--wait")
    try:
        assert logical_volumes(cluster) == volumes
        assert user.get("pvc/data")["status"]["phase"] == "Bound"
        assert user.get("storagenodes")["items"], "the CRD went, and its objects with it"
    finally:
        release.upgrade(cluster, {})
    user.kubectl("scale", "deployment/app", "--replicas=1")
    user.await_rollout("deployment/app")
    assert user.sh(user.pod_of("app")["metadata"]["name"], f"cat {DATA}/file") == "kept"
