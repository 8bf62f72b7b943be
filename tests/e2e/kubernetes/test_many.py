"""Fifty claims at once, and what of the time is ours."""

from __future__ import annotations

import time

from tests.e2e.kubernetes.calls import Calls
from tests.e2e.kubernetes.hosts import logical_volumes
from tests.e2e.kubernetes.manifests import DEVICE, claim, pod
from tests.e2e.kubernetes.user import User
from tests.e2e.lab.kubernetes.cluster import Cluster
from tests.e2e.lab.services import CHECKOUT

MANY = 50
BARE = f"{CHECKOUT}/tests/e2e/bench/bare.py"


def test_fifty_claims_at_once_are_all_bound(cluster: Cluster, user: User) -> None:
    names = [f"claim-{number}" for number in range(MANY)]
    begun = time.monotonic()
    user.apply(*(claim(name) for name in names))
    user.await_bound(*names, seconds=300)
    took = time.monotonic() - begun
    bare = _bare_creates(cluster)
    print(
        f"\n{MANY} claims in one apply: all Bound after {took:.1f} s, {MANY / took * 60:.0f} per "
        f"minute; bare lvcreate, one after the other: {60 / bare:.0f} per minute and host"
    )
    assert len(set(logical_volumes(cluster))) == MANY
    assert [message for name in names for message in user.messages(f"pvc/{name}")] == []


def _bare_creates(cluster: Cluster) -> float:
    """Seconds of one lvcreate on a storage host, the mean of five."""
    host = cluster.host("storage-1")
    numbers = [str(number) for number in range(901, 906)]
    seconds = [
        float(host.exec("python3", BARE, "create", number).check().text) for number in numbers
    ]
    for number in numbers:
        host.exec("lvremove", "--yes", f"vg0/bare-{number}").check()
    return sum(seconds) / len(seconds)


def test_what_of_the_time_is_ours(cluster: Cluster, user: User) -> None:
    """Prints it for a claim, and for a pod's attach and mount; the bare commands' is in `make
    bench`, of the same verbs."""
    calls = Calls(cluster)
    earlier = calls.seconds()
    begun = time.monotonic()
    user.apply(claim("data", block=True))
    user.await_bound("data")
    bound = time.monotonic() - begun
    creating = calls.since(earlier)
    earlier = calls.seconds()
    begun = time.monotonic()
    user.apply(pod("app", "data", node="compute-1", block=True))
    user.await_pods("app")
    running = time.monotonic() - begun
    attaching = calls.since(earlier)
    assert user.sh("app", f"blockdev --getsize64 {DEVICE}")
    for what, total, ours in (
        ("PVC -> Bound", bound, creating),
        ("pod's attach, mount and start", running, attaching),
    ):
        verbs = ", ".join(f"{verb} {1000 * seconds:.0f} ms" for verb, seconds in ours.items())
        print(f"\n{what}: {total:.1f} s, of it in our RPCs {sum(ours.values()):.2f} s ({verbs})")
    assert creating["CreateVolume"] < bound
    assert attaching["NodeStageVolume"] + attaching["ControllerPublishVolume"] < running
