"""One lab for all tests; each test leaves it empty."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import pytest

from tests.e2e.driver import Driver
from tests.e2e.guest.guest import HOST_MEMORY_MIB
from tests.e2e.lab import csi, prerequisites
from tests.e2e.lab.errors import LabError
from tests.e2e.lab.lab import DEFAULT_DIRECTORY, Lab
from tests.e2e.lab.topology import DataNetwork
from tests.e2e.leftovers import clear, leftovers


@pytest.fixture(scope="session")
def lab(worker_id: str) -> Iterator[Lab]:
    """2 storage and 2 compute hosts with the driver's roles; a lab for each of pytest's workers.

    compute-1 has room for a guest.
    """
    prerequisites.ensure(print)
    prerequisites.ensure_guest(print)  # the lab's network leads nowhere else
    place = os.environ.get("LAB_DIR") or f"{DEFAULT_DIRECTORY}-test"
    with Lab(Path(f"{place}-{worker_id}")) as lab:
        lab.up(storage=2, compute=2, memory_mib={"compute-1": HOST_MEMORY_MIB})
        lab.enter_network()
        yield lab


@pytest.fixture
def call() -> Callable[[str, str, str], str]:
    """What makes CSI calls: this process, which is in the lab's network."""
    return csi.call


@pytest.fixture
def driver(lab: Lab, call: Callable[[str, str, str], str]) -> Iterator[Driver]:
    """The driver, with nothing left of its work when the test ends."""
    driver = Driver(lab, call)
    yield driver
    for host in lab.hosts.values():  # one that failed may have left its partition
        for network in get_args(DataNetwork):
            host.heal(network)
    try:
        left = leftovers(lab)
    except LabError as error:
        left = [str(error)]
    if left:
        clear(lab, driver)
    assert left == []


@pytest.fixture
def name() -> Callable[[], str]:
    """New volume names, as external-provisioner makes them."""
    return lambda: f"pvc-{uuid.uuid4()}"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--record",
        action="store_true",
        help="write what comes out to the files that tests compare it with",
    )
