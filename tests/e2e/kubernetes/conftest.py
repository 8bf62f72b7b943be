"""A cluster for all tests, and a namespace for each, whose volumes are gone when it ends."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.kubernetes.sessions import someone, with_suite
from tests.e2e.kubernetes.user import User
from tests.e2e.lab.kubernetes.cluster import Cluster

ALL = "pods,deployments,statefulsets,volumesnapshots,persistentvolumeclaims"


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    with with_suite() as cluster:
        yield cluster


@pytest.fixture
def user(cluster: Cluster) -> Iterator[User]:
    with someone(cluster, ALL) as user:
        yield user
