"""A cluster for all tests, and a namespace for each, whose volumes are gone when it ends."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.kubernetes.hosts import left_of_volumes
from tests.e2e.kubernetes.user import User, until
from tests.e2e.lab.kubernetes.cluster import Cluster
from tests.e2e.lab.lab import DEFAULT_DIRECTORY

ALL = "pods,deployments,statefulsets,volumesnapshots,persistentvolumeclaims"


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    with kept_or_new() as cluster:
        yield cluster


@contextlib.contextmanager
def kept_or_new() -> Iterator[Cluster]:
    """2 storage and 2 compute hosts; LAB_KEEP=1 uses the one that is up, and leaves it so."""
    place = os.environ.get("LAB_DIR") or f"{DEFAULT_DIRECTORY}-kubernetes"
    cluster = Cluster(Path(place))
    if os.environ.get("LAB_KEEP"):
        if not cluster.hosts:
            cluster.up_cluster(suite=True)
        yield cluster
        return
    with cluster:
        cluster.up_cluster(suite=True)
        yield cluster


@pytest.fixture
def user(cluster: Cluster) -> Iterator[User]:
    """Someone with an empty namespace; nothing is left in the hosts of what he made there."""
    name = f"test-{uuid.uuid4().hex[:6]}"
    cluster.insist("kubectl", "create", "namespace", name)
    user = User(cluster, name)
    until(lambda: user.exists("serviceaccount/default"), lambda: "no service account")
    yield user
    user.delete("--all", ALL)
    user.delete("namespace", name)
    until(lambda: not left_of_volumes(cluster), lambda: f"left: {left_of_volumes(cluster)}")
