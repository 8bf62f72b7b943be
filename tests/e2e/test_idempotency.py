"""Every call made twice, made at once by several, and made again after its role was killed."""

import contextlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import pytest

from tests.e2e.driver import MIB, RETRY_PAUSE, Driver, Refused, Volume, insist
from tests.e2e.lab.host import Host
from tests.e2e.lab.lab import Lab
from tests.e2e.test_recovery import storage_of
from tests.e2e.waste import wait_until_wiped

LARGER = 96 * MIB
T = TypeVar("T")


def test_every_call_twice(driver: Driver, name: Callable[[], str]) -> None:
    wanted = name()
    volume = driver.create(wanted)
    assert driver.create(wanted).id == volume.id
    context = driver.publish(volume, "compute-1")
    assert driver.publish(volume, "compute-1") == context
    for verb in (driver.stage, driver.publish_to_pod, driver.unpublish_from_pod, driver.unstage):
        verb(volume, "compute-1")
        verb(volume, "compute-1")
    driver.unpublish(volume, "compute-1")
    driver.unpublish(volume, "compute-1")
    driver.delete(volume)
    driver.delete(volume)


def at_once(call: Callable[[], object], times: int = 4) -> None:
    """Make the call several times at once, each again while it is refused as busy."""
    with ThreadPoolExecutor(times) as threads:
        for done in [threads.submit(insist, call, "ABORTED") for _ in range(times)]:
            done.result(timeout=120)


def test_every_call_at_once(lab: Lab, driver: Driver, name: Callable[[], str]) -> None:
    wanted = name()
    at_once(lambda: driver.create(wanted))
    volume = driver.create(wanted, block=False)
    at_once(lambda: driver.publish(volume, "compute-1"))
    lab.host("compute-1").exec("mkdir", "-p", volume.staging_path).check()
    for verb in (driver.stage, driver.publish_to_pod):
        at_once(lambda verb=verb: verb(volume, "compute-1"))  # type: ignore[misc]
    sessions = lab.host("compute-1").exec("ls", "/sys/class/iscsi_session").check().text.split()
    assert len(sessions) == 1
    for verb in (driver.unpublish_from_pod, driver.unstage, driver.unpublish):
        at_once(lambda verb=verb: verb(volume, "compute-1"))  # type: ignore[misc]
    at_once(lambda: driver.delete(volume))


@pytest.mark.parametrize("provisioner", ["thin", "thick"])
def test_snapshots_copies_and_growth_at_once_and_again(
    lab: Lab, driver: Driver, name: Callable[[], str], provisioner: str
) -> None:
    volume = driver.create(name(), block=False, provisioner=provisioner)
    driver.attach(volume, "compute-1")
    taken, restored, cloned = name(), name(), name()
    at_once(lambda: driver.snapshot(taken, volume))
    snapshot = driver.snapshot(taken, volume)

    def copy(called: str, source: str) -> Volume:
        return driver.create(
            called, block=False, size=LARGER, source=source, provisioner=provisioner
        )

    at_once(lambda: copy(restored, snapshot))
    at_once(lambda: copy(cloned, volume.id))
    copies = [copy(restored, snapshot), copy(cloned, volume.id)]
    at_once(lambda: driver.delete_snapshot(snapshot))
    driver.delete_snapshot(snapshot)
    at_once(lambda: driver.expand(volume, LARGER))
    assert driver.expand(volume, LARGER) == LARGER
    at_once(lambda: driver.expand_on(volume, "compute-1", LARGER))
    driver.expand_on(volume, "compute-1", LARGER)
    stored = [entry["volume"]["volumeId"] for entry in driver.controller("ListVolumes")["entries"]]
    assert sorted(stored) == sorted(each.id for each in (volume, *copies))
    driver.detach(volume, "compute-1")
    for each in (volume, *copies):
        at_once(lambda each=each: driver.delete(each))  # type: ignore[misc]
    wait_until_wiped(lab)


def test_every_call_with_its_role_killed_meanwhile(
    lab: Lab, driver: Driver, name: Callable[[], str]
) -> None:
    wanted = name()
    create = partial(driver.create, wanted, block=False)
    volume = killed_meanwhile(lab, create, ("storage-1", "storage-2"), "storage")
    assert killed_meanwhile(lab, create, ("storage-1",), "controller").id == volume.id
    storage = (storage_of(lab, volume).name,)
    context = killed_meanwhile(
        lab, partial(driver.publish, volume, "compute-1"), storage, "storage"
    )
    assert driver.publish(volume, "compute-1") == context
    for verb in (driver.stage, driver.publish_to_pod, driver.unpublish_from_pod, driver.unstage):
        killed_meanwhile(lab, partial(verb, volume, "compute-1"), ("compute-1",), "node")
    for call in (partial(driver.unpublish, volume, "compute-1"), partial(driver.delete, volume)):
        killed_meanwhile(lab, call, storage, "storage")


def killed_meanwhile(lab: Lab, call: Callable[[], T], hosts: tuple[str, ...], role: str) -> T:
    """Make a call, kill its role while it runs, then call again, twice."""
    with ThreadPoolExecutor(1 + len(hosts)) as threads:
        first = threads.submit(call)
        for killed in [threads.submit(kill, lab.host(host), role) for host in hosts]:
            killed.result()
        with contextlib.suppress(Refused):
            first.result(timeout=60)
    insist(call, "UNAVAILABLE")
    return call()


def kill(host: Host, role: str) -> None:
    """Kill a role and wait until its supervisor has started it again."""
    earlier = host.service_states()[role].restarts
    host.exec("pkill", "-KILL", "-f", f"csi_lvm_iscsi {role}").check()
    while host.service_states()[role].restarts == earlier:
        time.sleep(RETRY_PAUSE)
    host.wait_ready()


def test_ten_volumes_at_once_on_one_node(lab: Lab, driver: Driver, name: Callable[[], str]) -> None:
    volumes = [driver.create(name(), block=number % 2 == 0) for number in range(10)]
    with ThreadPoolExecutor(10) as threads:
        # ABORTED: the storage role's comparison, each minute, may hold a volume for a moment.
        attached = [
            threads.submit(insist, partial(driver.attach, volume, "compute-1"), "ABORTED")
            for volume in volumes
        ]
        for each in attached:
            each.result(timeout=300)
    sessions = lab.host("compute-1").exec("sh", "-c", "cat /sys/class/iscsi_session/*/targetname")
    targets = sessions.check().text.split()
    assert sorted(targets) == sorted(volume.contexts["compute-1"]["target"] for volume in volumes)
    with ThreadPoolExecutor(10) as threads:
        for each in [threads.submit(_detach, driver, volume) for volume in volumes]:
            each.result(timeout=300)


def _detach(driver: Driver, volume: Volume) -> None:
    driver.detach(volume, "compute-1")
    driver.delete(volume)
