"""Several nodes have a volume at once: what each may do, and what happens when one loses it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.driver import MIB, Driver, Refused, Volume, capability, checksum, write_pattern
from tests.e2e.lab.host import Host
from tests.e2e.lab.lab import Lab
from tests.e2e.lab.services import CHECKOUT
from tests.e2e.test_fencing import DIRTY, wait_for_log
from tests.e2e.test_recovery import storage_of
from tests.e2e.verified import VerifiedWriter

SHARED, SHARED_READ_ONLY = "MULTI_NODE_MULTI_WRITER", "MULTI_NODE_READER_ONLY"
# Behind what `write_pattern` and `checksum` use.
SECOND_PART_MIB = 64
CUT = "Kernel reported iSCSI connection"
SHOW_FOR_EVER = """
while [ ! -e /run/stop-show ]; do tgtadm --mode target --op show >/dev/null || exit 1; done
"""
UNTIL_BOTH_ARE_BACK = """
until [ "$(tgtadm --mode target --op show | grep -c 'Initiator: .*node.compute')" = 2 ]; do
    sleep 0.1
done
"""
SCSI_WRITE = f"cd {CHECKOUT} && exec {sys.executable} -S -m tests.e2e.scsi_write"
DATA_PROTECT = "2 7"  # CHECK CONDITION, sense key


@contextmanager
def shown_all_the_time(storage: Host) -> Iterator[None]:
    """Somebody asks tgtd for its targets all the time; it never dies of it."""
    before = storage.exec("pidof", "tgtd").check().text
    storage.exec("rm", "-f", "/run/stop-show").check()
    showing = storage.start("sh", "-c", SHOW_FOR_EVER)
    yield
    storage.exec("touch", "/run/stop-show").check()
    showing.wait(60).check()
    assert storage.exec("pidof", "tgtd").check().text == before


@pytest.mark.parametrize("partitioned", [False, True], ids=["connected", "partitioned"])
def test_one_of_two_is_fenced_and_the_other_notices_nothing(
    lab: Lab, driver: Driver, name: Callable[[], str], *, partitioned: bool
) -> None:
    a, b = lab.host("compute-1"), lab.host("compute-2")
    volume = driver.create(name(), size=128 * MIB, mode=SHARED)
    driver.attach(volume, "compute-1")
    driver.attach(volume, "compute-2")
    storage = storage_of(lab, volume)
    with shown_all_the_time(storage):
        logged = len(b.log("iscsid"))
        other = VerifiedWriter(b, volume, first_mib=SECOND_PART_MIB, depth=8)
        fenced = a.start("sh", "-c", f"while {DIRTY}; do :; done", volume.data_path)
        if partitioned:
            a.partition()
        driver.unpublish(volume, "compute-1")
        write_pattern(b, volume, "B's data", mib=32)
        written = checksum(b, volume, mib=32)
        retried = len(a.log("iscsid"))
        a.heal()
        wait_for_log(a, "iscsid", "login rejected", retried)
        assert checksum(b, volume, mib=32) == written
        other.finish().check()
        assert CUT not in b.log("iscsid")[logged:]
    shown = storage.exec("tgtadm", "--mode", "target", "--op", "show").check().text
    assert "node.compute-1" not in shown
    fenced.kill()
    # kubelet's view of a force-detached volume: the pod is gone, the mounts may not be.
    driver.publish(volume, "compute-1")
    driver.stage(volume, "compute-1")
    driver.unpublish_from_pod(volume, "compute-1")
    driver.publish_to_pod(volume, "compute-1")
    assert checksum(a, volume, mib=32) == written
    for node in ("compute-1", "compute-2"):
        driver.detach(volume, node)
    driver.delete(volume)


def test_tgtd_killed_under_two_writers(lab: Lab, driver: Driver, name: Callable[[], str]) -> None:
    volume = driver.create(name(), size=128 * MIB, mode=SHARED)
    writers = []
    for n, node in enumerate(("compute-1", "compute-2")):
        driver.attach(volume, node)
        first_mib = n * SECOND_PART_MIB
        writers.append(VerifiedWriter(lab.host(node), volume, first_mib=first_mib, depth=8))
    storage = storage_of(lab, volume)
    storage.exec("pkill", "-KILL", "tgtd").check()
    storage.exec("sh", "-c", UNTIL_BOTH_ARE_BACK, timeout=60).check()
    for writer in writers:
        writer.finish().check()
    for node in ("compute-1", "compute-2"):
        driver.detach(volume, node)
    driver.delete(volume)


def test_the_target_of_a_read_only_volume_refuses_writes(
    lab: Lab, driver: Driver, name: Callable[[], str]
) -> None:
    volume = driver.create(name(), mode=SHARED_READ_ONLY)
    for node in ("compute-1", "compute-2"):
        context = driver.publish(volume, node)
        assert context["readOnly"] == "true"
        driver.stage(volume, node)
        disk = lab.host(node).exec("sh", "-c", "ls /sys/block | grep ^sd").check().text
        write = lab.host(node).exec("sh", "-c", f"{SCSI_WRITE} /dev/{disk}").check()
        assert write.text == DATA_PROTECT
    for node in ("compute-1", "compute-2"):
        driver.unstage(volume, node)
        driver.unpublish(volume, node)
    driver.delete(volume)


def test_who_may_have_it_at_the_same_time(driver: Driver, name: Callable[[], str]) -> None:
    one = driver.create(name())
    driver.publish(one, "compute-1")
    assert publish(driver, one, "compute-2", SHARED) == "FAILED_PRECONDITION"
    assert publish(driver, one, "compute-1", SHARED) == "ALREADY_EXISTS"
    assert publish(driver, one, "compute-1", readonly=True) == "ALREADY_EXISTS"
    assert publish(driver, one, "compute-1") == "OK"
    driver.unpublish(one, "compute-1")

    shared = driver.create(name(), mode=SHARED)
    first = driver.publish(shared, "compute-1")
    assert publish(driver, shared, "compute-2", SHARED, readonly=True) == "FAILED_PRECONDITION"
    assert publish(driver, shared, "compute-2") == "FAILED_PRECONDITION"
    second = driver.publish(shared, "compute-2")
    assert first["nonce"] != second["nonce"]
    assert driver.publish(shared, "compute-1") == first
    assert driver.publish(shared, "compute-2") == second
    (entry,) = [
        each
        for each in driver.controller("ListVolumes")["entries"]
        if each["volume"]["volumeId"] == shared.id
    ]
    assert entry["status"]["publishedNodeIds"] == ["compute-1", "compute-2"]
    # An empty node id means all.
    driver.unpublish(shared, "")
    for volume in (one, shared):
        driver.delete(volume)


def publish(
    driver: Driver,
    volume: Volume,
    node: str,
    mode: str = "SINGLE_NODE_WRITER",
    *,
    readonly: bool = False,
) -> str:
    """The code of the answer to a publish in this way."""
    try:
        driver.controller(
            "ControllerPublishVolume",
            volume_id=volume.id,
            node_id=node,
            volume_capability=capability(block=True, mode=mode),
            readonly=readonly,
        )
    except Refused as refused:
        return refused.code
    return "OK"
