"""Fifty claims at once, and what of the time is ours."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import NamedTuple

import pytest

from tests.e2e.bench.sides import STORAGE, Bare
from tests.e2e.kubernetes.calls import Calls
from tests.e2e.kubernetes.hosts import logical_volumes
from tests.e2e.kubernetes.manifests import DATA, DEVICE, claim, pod, storage_class
from tests.e2e.kubernetes.user import User
from tests.e2e.lab.kubernetes.cluster import Cluster

MANY = 50
ROUNDS = 5
STAYS = 900
LIMIT = 1.5
"""Our time may be so many times that of the bare commands."""


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
    bare = Bare(cluster)
    numbers = range(901, 906)
    seconds = [bare.run("create", number) for number in numbers]
    for number in numbers:
        bare.run("delete", number)
    return sum(seconds) / len(seconds)


@pytest.mark.parametrize("block", [True, False], ids=["block", "ext4"])
def test_what_of_the_time_is_ours(cluster: Cluster, user: User, *, block: bool) -> None:
    """Beside Kubernetes' share, and the same done by the bare commands on the same hosts."""
    near = storage_class(f"near-{user.namespace}", {"storageHost": STORAGE})
    bare = Bare(cluster, tgtd_socket="/run/csi-lvm-iscsi/tgtd/socket")
    user.apply(near)
    # The pool is active while it has volumes: without one that stays, each first would pay for it.
    bare.run("create", STAYS)
    try:
        rounds = [
            (
                _our_round(cluster, user, near["metadata"]["name"], block=block),
                _bare_round(bare, STAYS + number, "mount" if block else "format_and_mount"),
            )
            for number in range(1, 1 + ROUNDS)
        ]
    finally:
        bare.run("delete", STAYS)
        user.delete(f"storageclass/{near['metadata']['name']}")
    for what in ("PVC -> Bound", "pod's attach, mount and start"):
        shown = [ours[what] for ours, _ in rounds]
        total, inside = median(each.total for each in shown), median(each.ours for each in shown)
        compared = inside / median(bares[what] for _, bares in rounds)
        print(
            f"\n{what}: {total:.2f} s, of it {inside:.2f} s in our RPCs, which is {compared:.2f} "
            f"times the bare commands' time (medians of {ROUNDS}); {shown[-1].verbs}"
        )
        assert 0 < inside < total, f"{what}: the metrics tell nothing of it"
        assert compared <= LIMIT, what


class Share(NamedTuple):
    """Seconds until a user has what he asked for, and those of them inside our calls."""

    total: float
    ours: float
    verbs: str


def _our_round(
    cluster: Cluster, user: User, storage_class_name: str, *, block: bool
) -> dict[str, Share]:
    """A claim and a pod of it, there and away again."""
    calls = Calls(cluster)

    def share(act: Callable[[], None]) -> Share:
        earlier, begun = calls.seconds(), time.monotonic()
        act()
        total = time.monotonic() - begun
        ours = calls.since(earlier)
        verbs = ", ".join(f"{verb} {1000 * seconds:.0f} ms" for verb, seconds in ours.items())
        return Share(total, sum(ours.values()), verbs)

    def bind() -> None:
        user.apply(claim("data", block=block, storage_class=storage_class_name))
        user.await_bound("data")

    def start() -> None:
        user.apply(pod("app", "data", node="compute-1", block=block))
        user.await_pods("app")

    shares = {"PVC -> Bound": share(bind), "pod's attach, mount and start": share(start)}
    assert user.sh("app", f"blockdev --getsize64 {DEVICE}" if block else f"df {DATA}")
    volume = user.volume_of("data")["metadata"]["name"]
    user.delete("pod/app", "pvc/data")
    user.wait("delete", f"pv/{volume}")
    return shares


def _bare_round(bare: Bare, number: int, mount: str) -> dict[str, float]:
    seconds = {step: bare.run(step, number) for step in ("create", "publish", "stage", mount)}
    for step in ("unmount", "unstage", "unpublish", "delete"):
        bare.run(step, number)
    creating = seconds.pop("create")
    return {"PVC -> Bound": creating, "pod's attach, mount and start": sum(seconds.values())}
