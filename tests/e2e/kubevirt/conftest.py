"""A cluster with KubeVirt and a virtual machine for all tests, and a namespace for each."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.kubernetes.hosts import left_of_volumes
from tests.e2e.kubernetes.user import User, until
from tests.e2e.kubevirt.machine import VirtualMachine
from tests.e2e.lab.kubevirt.cluster import KubeVirtCluster
from tests.e2e.lab.lab import DEFAULT_DIRECTORY

NODE = "compute-1"


@pytest.fixture(scope="session")
def cluster() -> Iterator[KubeVirtCluster]:
    with kept_or_new() as cluster:
        yield cluster


@contextlib.contextmanager
def kept_or_new() -> Iterator[KubeVirtCluster]:
    """1 storage and 2 compute hosts; LAB_KEEP=1 uses the one that is up, and leaves it so."""
    place = os.environ.get("LAB_DIR") or f"{DEFAULT_DIRECTORY}-kubevirt"
    cluster = KubeVirtCluster(Path(place))
    if os.environ.get("LAB_KEEP"):
        if not cluster.hosts:
            cluster.up_cluster(storage=1)
        yield cluster
        return
    with cluster:
        cluster.up_cluster(storage=1)
        yield cluster


@pytest.fixture(scope="session")
def user(cluster: KubeVirtCluster) -> Iterator[User]:
    """Someone with a namespace, for as long as a virtual machine takes to start is too long to do
    so for each test."""
    name = f"test-{uuid.uuid4().hex[:6]}"
    cluster.insist("kubectl", "create", "namespace", name)
    user = User(cluster, name)
    until(lambda: user.exists("serviceaccount/default"), lambda: "no service account")
    yield user
    user.delete("--all", "virtualmachines,pods,persistentvolumeclaims")
    user.delete("namespace", name)
    until(lambda: not left_of_volumes(cluster), lambda: f"left: {left_of_volumes(cluster)}")


@pytest.fixture(scope="session")
def c2(user: User) -> VirtualMachine:
    """A virtual machine on compute-1 that is up."""
    machine = VirtualMachine(user, "c2")
    machine.create(node=NODE)
    machine.await_up()
    return machine
