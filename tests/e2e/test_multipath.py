"""Volumes with several portals: a network that is lost is not noticed by the writer."""

import contextlib
import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.e2e.driver import Driver, Volume, checksum, insist, write_pattern
from tests.e2e.lab.host import Host
from tests.e2e.lab.lab import Lab
from tests.e2e.lab.remote import Command
from tests.e2e.lab.services import PORTAL_NETWORKS
from tests.e2e.lab.topology import DATA2_NETWORK, DATA_NETWORK, DATA_NETWORK_6
from tests.e2e.test_recovery import start_writer

TWO_NETWORKS = (f"{DATA_NETWORK}.0/24", f"{DATA2_NETWORK}.0/24")
# A cut is noticed by the second ping that is not answered, 5 s after the first, and the path given
# up 15 s later.
NOTICED_SECONDS = 25
WRITER_SECONDS = 300
PATIENCE_SECONDS = 90
FIO_INTERRUPTED = 128


@contextlib.contextmanager
def portal_networks(lab: Lab, *networks: str) -> Iterator[None]:
    """Storage hosts with their portals in these networks, then in those of before."""
    storage = [host for host in lab.hosts.values() if host.identity.kind == "storage"]
    before = {host: host.exec("cat", PORTAL_NETWORKS).stdout for host in storage}
    for host in storage:
        host.write(PORTAL_NETWORKS, " ".join(networks).encode())
        _restart(host, "storage")
    try:
        yield
    finally:
        for host in storage:
            host.write(PORTAL_NETWORKS, before[host])
            _restart(host, "storage")


def _restart(host: Host, role: str) -> None:
    before = host.service_states()[role].restarts
    host.exec("pkill", "-KILL", "-f", f"csi_lvm_iscsi {role}").check()
    _wait_until(lambda: host.service_states()[role].restarts > before)
    host.wait_ready()


def _wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def paths(host: Host) -> list[str]:
    """The paths of the one map of a host: A for one that is used, F for one that failed."""
    status = host.exec("dmsetup", "status", "--target", "multipath").check().text
    return re.findall(r"\d+:\d+ ([AF])", status)


def publish(driver: Driver, volume: Volume, node: str) -> list[str]:
    """Publish to a node, and return the portals."""
    context = insist(lambda: driver.publish(volume, node), "UNAVAILABLE", seconds=10)
    return context["portals"].split(",")


def volume_with_data(compute: Host, driver: Driver, name: str) -> tuple[Volume, str]:
    """A volume in use over all its paths, and the checksum of what is in it."""
    volume = driver.create(name, block=False)
    publish(driver, volume, compute.name)
    driver.attach(volume, compute.name)
    write_pattern(compute, volume, "over two paths")
    return volume, checksum(compute, volume)


def _interrupted(host: Host, writer: Command) -> dict[str, Any]:
    """The report of the writer, ended early; fails where a write failed or was read back wrong."""
    host.exec("pkill", "-INT", "fio").check()
    result = writer.wait(PATIENCE_SECONDS)
    assert result.status == FIO_INTERRUPTED, result.stderr
    # It says on what signal it ends, then reports.
    report: dict[str, Any] = json.loads(result.text[result.text.index("{") :])["jobs"][0]
    assert report["error"] == 0
    return report


@pytest.fixture(scope="module")
def two_networks(lab: Lab) -> Iterator[None]:
    with portal_networks(lab, *TWO_NETWORKS):
        yield


@pytest.mark.usefixtures("two_networks")
def test_one_network_after_the_other_is_lost_under_a_verifying_writer(
    lab: Lab, driver: Driver, name: Callable[[], str], record_property: Callable[[str, str], None]
) -> None:
    volume = driver.create(name())
    assert len(publish(driver, volume, "compute-1")) == len(TWO_NETWORKS)
    driver.attach(volume, "compute-1")
    compute = lab.host("compute-1")
    assert paths(compute) == ["A", "A"]
    writer = start_writer(compute, volume, WRITER_SECONDS)
    compute.partition("data2")
    _wait_until(lambda: sorted(paths(compute)) == ["A", "F"])
    # What the role knows of the paths is in the kernel: it goes on with them.
    _restart(compute, "node")
    compute.heal("data2")
    _wait_until(lambda: paths(compute) == ["A", "A"])
    compute.partition("data")
    _wait_until(lambda: sorted(paths(compute)) == ["A", "F"])
    compute.heal("data")
    _wait_until(lambda: paths(compute) == ["A", "A"])
    report = _interrupted(compute, writer)
    longest = report["write"]["clat_ns"]["max"] / 1e9
    record_property("longest_pause_seconds", f"{longest:.1f}")
    print(f"the longest write took {longest:.1f} s, of {report['write']['total_ios']}")
    assert longest < 2 * NOTICED_SECONDS
    driver.detach(volume, "compute-1")
    driver.delete(volume)


@pytest.mark.usefixtures("two_networks")
def test_unstage_and_stage_with_one_network_lost(
    lab: Lab, driver: Driver, name: Callable[[], str]
) -> None:
    compute = lab.host("compute-1")
    volume, written = volume_with_data(compute, driver, name())
    compute.partition("data2")
    driver.unpublish_from_pod(volume, "compute-1")
    driver.unstage(volume, "compute-1")
    before = time.monotonic()
    driver.stage(volume, "compute-1")
    print(f"staged in {time.monotonic() - before:.1f} s with a dead portal")
    assert time.monotonic() - before < NOTICED_SECONDS
    assert paths(compute) == ["A"]
    driver.publish_to_pod(volume, "compute-1")
    assert checksum(compute, volume) == written
    compute.heal("data2")
    _wait_until(lambda: paths(compute) == ["A", "A"])
    driver.detach(volume, "compute-1")
    driver.delete(volume)


@pytest.mark.usefixtures("two_networks")
def test_a_map_of_an_earlier_publication_is_dropped_unwritten(
    lab: Lab, driver: Driver, name: Callable[[], str]
) -> None:
    compute = lab.host("compute-1")
    volume, written = volume_with_data(compute, driver, name())
    driver.unpublish(volume, "compute-1")
    # Into the cache alone: the sessions are refused from now on, and the map keeps what it gets.
    script = 'printf stale | dd of="$1" conv=notrunc 2>/dev/null'
    compute.exec("sh", "-c", script, "sh", volume.data_path).check()
    driver.publish(volume, "compute-1")
    driver.stage(volume, "compute-1")
    driver.publish_to_pod(volume, "compute-1")
    assert paths(compute) == ["A", "A"]
    assert checksum(compute, volume) == written
    driver.detach(volume, "compute-1")
    driver.delete(volume)


@pytest.mark.usefixtures("two_networks")
def test_the_host_does_not_look_into_a_map(
    lab: Lab, driver: Driver, name: Callable[[], str]
) -> None:
    volume = driver.create(name(), block=False)
    publish(driver, volume, "compute-1")
    driver.attach(volume, "compute-1")
    compute = lab.host("compute-1")
    compute.exec("udevadm", "trigger", "--action=change", "--subsystem-match=block").check()
    compute.exec("udevadm", "settle").check()
    node = compute.exec("findmnt", "--noheadings", "--output=SOURCE", volume.target_path).text
    known = compute.exec("udevadm", "info", "--query=property", f"--name={node}").check().text
    assert "DM_UUID=CSILVM-" in known
    assert "ID_FS_" not in known
    driver.detach(volume, "compute-1")
    driver.delete(volume)


def test_over_ipv6_alone(lab: Lab, driver: Driver, name: Callable[[], str]) -> None:
    volume = driver.create(name(), block=False)
    with portal_networks(lab, f"{DATA_NETWORK_6}/64"):
        (portal,) = publish(driver, volume, "compute-1")
        assert portal.startswith(f"[{DATA_NETWORK_6}")
        driver.attach(volume, "compute-1")
        compute = lab.host("compute-1")
        write_pattern(compute, volume, "over IPv6")
        written = checksum(compute, volume)
        connected = compute.exec("ss", "--tcp", "--no-header", "dport = 3260").check().text
        assert DATA_NETWORK_6 in connected
        driver.detach(volume, "compute-1")
        driver.attach(volume, "compute-1")
        assert checksum(compute, volume) == written
        driver.detach(volume, "compute-1")
    driver.delete(volume)
