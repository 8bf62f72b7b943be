"""A volume grows while a node writes to it: no write is lost, none fails, each waits a moment."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import pytest

from tests.e2e.driver import MIB, Driver, Refused, Volume, insist
from tests.e2e.lab.host import Host
from tests.e2e.lab.lab import Lab
from tests.e2e.test_recovery import storage_of
from tests.e2e.verified import VerifiedWriter

FIRST_MIB, STEP_MIB = 64, 4
UNTIL_LOGGED_IN = """
while [ -n "$(grep -L LOGGED_IN /sys/class/iscsi_session/*/state)" ]; do sleep 0.1; done
"""
UNTIL_WRITTEN = """
written() { awk '{ sectors += $7 } END { print sectors }' /sys/block/sd*/stat; }
enough=$(($(written) + 400))
until [ "$(written)" -gt "$enough" ]; do sleep 0.1; done
"""
RESCAN = """
for disk in /sys/block/sd*/device/rescan; do echo 1 >"$disk"; done
blockdev --getsize64 "$0"
"""


@pytest.mark.parametrize(
    "times", [pytest.param(5), pytest.param(100, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_growing_under_a_verifying_writer(
    lab: Lab, driver: Driver, name: Callable[[], str], times: int
) -> None:
    host = lab.host("compute-1")
    volume = driver.create(name(), size=FIRST_MIB * MIB)
    driver.attach(volume, "compute-1")
    writer = VerifiedWriter(host, volume)
    moments = []
    for n in range(1, times + 1):
        moments.append(time.time())
        size = (FIRST_MIB + n * STEP_MIB) * MIB
        assert driver.expand(volume, size) == size
        assert size_seen(host, volume) == size
        host.exec("sh", "-c", UNTIL_WRITTEN).check()
    report = writer.finish().check()
    pauses = report.pauses(moments)
    assert all(pauses), "a growth that stopped no write was none"
    print(
        f"\n{times} growths, {report.written} writes, {report.compared} compared; longest wait for "
        f"a write in each: min {min(pauses):.2f}, median {statistics.median(pauses):.2f}, "
        f"max {max(pauses):.2f} s"
    )
    driver.detach(volume, "compute-1")
    driver.delete(volume)


def test_growing_once_more_does_nothing(lab: Lab, driver: Driver, name: Callable[[], str]) -> None:
    volume = driver.create(name())
    driver.publish(volume, "compute-1")
    storage = storage_of(lab, volume)
    size = driver.expand(volume, 65 * MIB)
    assert size == 68 * MIB
    before = target_line(storage, volume)
    assert driver.expand(volume, 65 * MIB) == size
    assert driver.expand(volume, MIB) == size
    assert target_line(storage, volume) == before, "the target was made anew for nothing"
    with pytest.raises(Refused, match="OUT_OF_RANGE"):
        driver.expand(volume, 1 << 50)
    with pytest.raises(Refused, match="NOT_FOUND"):
        driver.expand(Volume(f"{volume.id}-not", "not", block=True), MIB)
    driver.unpublish(volume, "compute-1")
    driver.delete(volume)


def test_a_growth_that_its_role_did_not_survive_is_finished_by_the_next(
    lab: Lab, driver: Driver, name: Callable[[], str]
) -> None:
    volume = driver.create(name())
    driver.attach(volume, "compute-1")
    storage = storage_of(lab, volume)
    # As a role leaves it that is killed after lvextend.
    storage.exec("pkill", "-STOP", "-f", "csi_lvm_iscsi storage").check()
    storage.exec("lvextend", "-L", "68m", f"vg0/{volume.id}").check()
    storage.exec("pkill", "-KILL", "-f", "csi_lvm_iscsi storage").check()
    storage.wait_ready()
    # The call is made again; its volume may be held by the comparison at start.
    assert insist(lambda: driver.expand(volume, 68 * MIB), "ABORTED", "UNAVAILABLE") == 68 * MIB
    assert size_seen(lab.host("compute-1"), volume) == 68 * MIB
    driver.detach(volume, "compute-1")
    driver.delete(volume)


def size_seen(host: Host, volume: Volume) -> int:
    """The size that the node's kernel learns of when its sessions are back and it asks anew."""
    host.exec("sh", "-c", UNTIL_LOGGED_IN).check()
    return int(host.exec("sh", "-c", RESCAN, volume.data_path).check().text)


def target_line(storage: Host, volume: Volume) -> str:
    """The target's number and name: a target that is made anew has another number."""
    shown = storage.exec("tgtadm", "--mode", "target", "--op", "show").check().text
    (line,) = [line for line in shown.splitlines() if line.endswith(volume.id)]
    return line
