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
    """1 storage host, 2 compute hosts for virtual machines and 1 for KubeVirt."""

    def up(new: KubeVirtCluster) -> None:
        new.up_cluster(storage=1, compute=3)

    with kept_or_new(KubeVirtCluster, "kubevirt", up) as cluster:
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
