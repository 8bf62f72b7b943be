"""What a run of tests in a cluster has: the cluster, and users with a namespace of their own."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from tests.e2e.kubernetes.hosts import left_of_volumes
from tests.e2e.kubernetes.user import User, until
from tests.e2e.lab.kubernetes.cluster import Cluster
from tests.e2e.lab.lab import DEFAULT_DIRECTORY

C = TypeVar("C", bound=Cluster)


@contextlib.contextmanager
def kept_or_new(kind: Callable[[Path], C], name: str, up: Callable[[C], None]) -> Iterator[C]:
    """A cluster that is up; LAB_KEEP=1 uses the one of LAB_DIR that is up, and leaves it so."""
    cluster = kind(Path(os.environ.get("LAB_DIR") or f"{DEFAULT_DIRECTORY}-{name}"))
    if os.environ.get("LAB_KEEP"):
        if not cluster.hosts:
            up(cluster)
        yield cluster
        return
    with cluster:
        up(cluster)
        yield cluster


def with_suite() -> contextlib.AbstractContextManager[Cluster]:
    """2 storage and 2 compute hosts, with the images of Kubernetes' own tests."""
    return kept_or_new(Cluster, "kubernetes", lambda new: new.up_cluster(suite=True))


@contextlib.contextmanager
def someone(cluster: Cluster, leaves: str) -> Iterator[User]:
    """A user with an empty namespace; nothing is left in the hosts of what he made there.

    `leaves`: the kinds of what he may leave in the namespace, in the order in which they can go.
    """
    name = f"test-{uuid.uuid4().hex[:6]}"
    cluster.insist("kubectl", "create", "namespace", name)
    user = User(cluster, name)
    until(lambda: user.exists("serviceaccount/default"), lambda: "no service account")
    yield user
    user.delete("--all", leaves)
    user.delete("namespace", name)
    until(lambda: not left_of_volumes(cluster), lambda: f"left: {left_of_volumes(cluster)}")
