"""A cluster with KubeVirt, and a user with a virtual machine for all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.kubernetes.sessions import kept_or_new, someone
from tests.e2e.kubernetes.user import User
from tests.e2e.kubevirt.machine import VirtualMachine
from tests.e2e.lab.kubevirt.cluster import KubeVirtCluster

ALL = "volumehotplugs,virtualmachines,pods,persistentvolumeclaims"
NODE = "compute-1"


@pytest.fixture(scope="session")
def cluster() -> Iterator[KubeVirtCluster]:
    """1 storage and 2 compute hosts."""
    with kept_or_new(KubeVirtCluster, "kubevirt", lambda new: new.up_cluster(storage=1)) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def user(cluster: KubeVirtCluster) -> Iterator[User]:
    """One for all tests, as a virtual machine takes too long to start one for each."""
    with someone(cluster, ALL) as user:
        yield user


@pytest.fixture(scope="session")
def c2(user: User) -> VirtualMachine:
    """A virtual machine on compute-1 that is up."""
    machine = VirtualMachine(user, "c2")
    machine.create(node=NODE)
    machine.await_up()
    return machine
