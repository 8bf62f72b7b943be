"""Volumes made of snapshots and volumes of the other storage host: copied over iSCSI, whatever dies
meanwhile."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.driver import MIB, Driver, Volume, insist
from tests.e2e.lab.host import Host
from tests.e2e.lab.lab import Lab
from tests.e2e.waste import wait_until_wiped

FROM, TO = "storage-1", "storage-2"
KINDS = ("thin", "thick")
# Copied in 3 steps (storage/copying.py).
LARGE = 192
STEP = 64 * MIB
RETRIED = ("ABORTED", "UNAVAILABLE")
# As soon as the first step of a copy is on the disk.
IN_THE_MIDDLE = """
until grep -qs 'copied_bytes": [1-9]' /var/lib/csi-lvm-iscsi/copies/*.json; do sleep 0.05; done
"""
# The brackets keep it from finding the shell that it runs in.
KILL = "pkill -KILL -f '[c]si_lvm_iscsi storage'"


def written(lab: Lab, driver: Driver, name: str, mib: int, kind: str = "thin") -> Volume:
    """A volume on the first storage host, all of it written: in place, as nodes do not matter."""
    volume = driver.create(name, size=mib * MIB, storageHost=FROM, provisioner=kind)
    script = 'yes "$1" | head -c "$2" | dd of="$3" bs=1M iflag=fullblock oflag=direct'
    path = f"/dev/vg0/{volume.id}"
    lab.host(FROM).exec("sh", "-c", script, "sh", name, str(mib * MIB), path).check()
    return volume


def content(host: Host, volume: Volume, mib: int) -> str:
    """The checksum of the first MiBs of a volume, where it is stored."""
    script = 'dd if="$1" bs=1M count="$2" iflag=direct | sha256sum'
    path = f"/dev/vg0/{volume.id}"
    return host.exec("sh", "-c", script, "sh", path, str(mib)).check().text.split()[0]


def beginnings(host: Host, volume_id: str) -> list[int]:
    """Where the copies into a volume began, by the log of the role."""
    found = re.findall(r"copying\s.*", host.log("storage"))
    return [int(re.findall(r"begin=(\d+)", line)[0]) for line in found if volume_id in line]


@pytest.mark.parametrize("to", KINDS)
@pytest.mark.parametrize("kind", KINDS)
def test_restore_and_clone_onto_the_other_host_and_larger(
    lab: Lab, driver: Driver, name: Callable[[], str], kind: str, to: str
) -> None:
    volume = written(lab, driver, name(), 68, kind)
    expected = content(lab.host(FROM), volume, 68)
    snapshot = driver.snapshot(name(), volume)
    for source in (snapshot, volume.id):
        made = driver.create(name(), size=100 * MIB, source=source, storageHost=TO, provisioner=to)
        assert content(lab.host(TO), made, 68) == expected
        driver.delete(made)
    driver.delete_snapshot(snapshot)
    driver.delete(volume)
    wait_until_wiped(lab)


def test_two_copies_of_one_snapshot_at_once(
    lab: Lab, driver: Driver, name: Callable[[], str]
) -> None:
    volume = written(lab, driver, name(), LARGE)
    expected = content(lab.host(FROM), volume, LARGE)
    snapshot = driver.snapshot(name(), volume)

    def restore(called: str) -> Volume:
        return insist(
            lambda: driver.create(called, size=LARGE * MIB, source=snapshot, storageHost=TO),
            # The one that is done first takes the snapshot back, perhaps just when it is lent anew.
            *(*RETRIED, "FAILED_PRECONDITION"),
        )

    with ThreadPoolExecutor(2) as threads:
        made = list(threads.map(restore, [name(), name()]))
    assert [content(lab.host(TO), each, LARGE) for each in made] == [expected, expected]
    for each in (*made, volume):
        driver.delete(each)
    driver.delete_snapshot(snapshot)


@pytest.mark.parametrize("to", KINDS)
def test_a_copy_whose_role_is_killed_goes_on_where_it_was(
    lab: Lab, driver: Driver, name: Callable[[], str], to: str
) -> None:
    volume = written(lab, driver, name(), LARGE)
    expected = content(lab.host(FROM), volume, LARGE)
    called = name()

    def copied() -> Volume:
        size = LARGE * MIB
        return driver.create(called, size=size, source=volume.id, storageHost=TO, provisioner=to)

    with ThreadPoolExecutor(1) as threads:
        copying = threads.submit(insist, copied, *RETRIED, seconds=180)
        lab.host(TO).exec("sh", "-c", IN_THE_MIDDLE + KILL).check()
        made = copying.result()
    began = beginnings(lab.host(TO), made.id)
    assert began[0] == 0
    assert all(begin >= STEP and begin % STEP == 0 for begin in began[1:])
    assert len(began) > 1
    assert content(lab.host(TO), made, LARGE) == expected
    for each in (made, volume):
        driver.delete(each)
    wait_until_wiped(lab)


def test_the_role_of_the_source_is_not_needed_for_the_data(
    lab: Lab, driver: Driver, name: Callable[[], str]
) -> None:
    volume = written(lab, driver, name(), LARGE)
    expected = content(lab.host(FROM), volume, LARGE)
    called = name()

    def copied() -> Volume:
        return driver.create(called, size=LARGE * MIB, source=volume.id, storageHost=TO)

    with ThreadPoolExecutor(1) as threads:
        copying = threads.submit(insist, copied, *RETRIED, seconds=180)
        lab.host(TO).exec("sh", "-c", IN_THE_MIDDLE).check()
        lab.host(FROM).exec("sh", "-c", KILL).check()
        made = copying.result()
    assert beginnings(lab.host(TO), made.id) == [0]
    assert content(lab.host(TO), made, LARGE) == expected
    for each in (made, volume):
        driver.delete(each)


@pytest.mark.parametrize(("of", "to"), [("volume", "thin"), ("snapshot", "thick")])
def test_a_copy_that_is_deleted_in_the_middle_leaves_nothing(
    lab: Lab, driver: Driver, name: Callable[[], str], to: str, of: str
) -> None:
    volume = written(lab, driver, name(), LARGE)
    source = driver.snapshot(name(), volume) if of == "snapshot" else volume.id
    called = name()
    with ThreadPoolExecutor(1) as threads:
        copying = threads.submit(
            driver.create, called, size=LARGE * MIB, source=source, storageHost=TO, provisioner=to
        )
        lab.host(TO).exec("sh", "-c", IN_THE_MIDDLE).check()
        # Who would call again dies first.
        lab.host(FROM).exec("pkill", "-KILL", "-f", "csi_lvm_iscsi controller").check()
        lab.host(TO).exec("sh", "-c", KILL).check()
        assert copying.exception() is not None
    for host in (FROM, TO):
        lab.host(host).wait_ready()
    (half,) = [
        each["volume"]["volumeId"]
        for each in driver.controller("ListVolumes")["entries"]
        if called in each["volume"]["volumeId"]
    ]
    insist(lambda: driver.controller("DeleteVolume", volume_id=half), *RETRIED)
    if of == "snapshot":
        driver.delete_snapshot(source)
    driver.delete(volume)
    wait_until_wiped(lab)
