"""Thick volumes: no byte of an earlier tenant is ever in a new one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.driver import MIB, Driver, Refused, Volume, insist, write_pattern
from tests.e2e.lab.host import Host
from tests.e2e.lab.lab import Lab
from tests.e2e.waiting import await_that
from tests.e2e.waste import WIPE_SECONDS, wait_until_wiped, waste

NODE = "compute-1"
# Nearly all that the lab's pools leave of their volume groups.
SIZE = 384 * MIB
WRITTEN_MIB = 16
TEXT = "of an earlier tenant"


def filled(lab: Lab, driver: Driver, name: str, mib: int) -> Volume:
    """A thick volume that a tenant wrote to, and that no node has any more."""
    volume = driver.create(name, provisioner="thick", size=SIZE)
    driver.attach(volume, NODE)
    write_pattern(lab.host(NODE), volume, TEXT, mib=mib)
    driver.detach(volume, NODE)
    return volume


def owner(lab: Lab, volume: Volume) -> Host:
    """The storage host of a volume."""
    hosts = [lab.host("storage-1"), lab.host("storage-2")]
    return next(h for h in hosts if h.exec("lvs", f"vg0/{volume.id}").status == 0)


def bytes_written_in(lab: Lab, volume: Volume) -> int:
    """How many bytes of a volume are not zero, where it is stored."""
    path = f"/dev/vg0/{volume.id}"
    script = f"dd if={path} bs=1M iflag=direct 2>/dev/null | tr -d '\\0' | wc -c"
    return int(owner(lab, volume).exec("sh", "-c", script).check().text)


def test_a_new_volume_has_nothing_of_a_deleted_one(
    lab: Lab, driver: Driver, name: Callable[[], str]
) -> None:
    earlier = filled(lab, driver, name(), mib=WRITTEN_MIB)
    assert bytes_written_in(lab, earlier) == WRITTEN_MIB * MIB
    driver.delete(earlier)
    # Both hosts' free extents, so also those of the first one; there is room once it is wiped.
    made = [
        insist(lambda: driver.create(name(), provisioner="thick", size=SIZE), "RESOURCE_EXHAUSTED")
        for _ in range(2)
    ]
    assert [bytes_written_in(lab, each) for each in made] == [0, 0]
    for each in made:
        driver.delete(each)
    wait_until_wiped(lab)


def test_a_wipe_that_a_power_cut_interrupted_goes_on(
    lab: Lab, driver: Driver, name: Callable[[], str]
) -> None:
    earlier = filled(lab, driver, name(), mib=WRITTEN_MIB)
    host = owner(lab, earlier)
    driver.delete(earlier)
    host.cut()
    host.boot()
    host.wait_ready()
    assert waste(host) != []
    made = [
        insist(
            lambda: driver.create(name(), provisioner="thick", size=SIZE),
            *("RESOURCE_EXHAUSTED", "UNAVAILABLE"),
        )
        for _ in range(2)
    ]
    assert [bytes_written_in(lab, each) for each in made] == [0, 0]
    for each in made:
        driver.delete(each)
    wait_until_wiped(lab)


def test_what_is_being_wiped_still_counts_as_used(driver: Driver, name: Callable[[], str]) -> None:
    def available() -> int:
        answer = driver.controller("GetCapacity", parameters={"provisioner": "thick"})
        return int(answer.get("availableCapacity", 0))

    empty = available()
    volume = driver.create(name(), provisioner="thick", size=SIZE)
    assert available() == empty - SIZE
    driver.delete(volume)
    assert available() == empty - SIZE
    # The role counts it as used until lvremove has returned, later than `lvs` shows it gone.
    await_that(lambda: available() == empty, "its space did not come back", WIPE_SECONDS)


def test_no_room_tells_what_to_do(driver: Driver, lab: Lab, name: Callable[[], str]) -> None:
    volumes = [driver.create(name(), provisioner="thick", size=SIZE) for _ in range(2)]
    with pytest.raises(Refused, match=r"RESOURCE_EXHAUSTED.*vgextend"):
        driver.create(name(), provisioner="thick", size=SIZE)
    for volume in volumes:
        driver.delete(volume)
    wait_until_wiped(lab)


def test_a_thick_volume_with_snapshots_does_not_grow(
    driver: Driver, lab: Lab, name: Callable[[], str]
) -> None:
    volume = driver.create(name(), provisioner="thick")
    snapshot = driver.snapshot(name(), volume)
    with pytest.raises(Refused, match=r"FAILED_PRECONDITION.*Delete them first"):
        driver.controller(
            "ControllerExpandVolume",
            volume_id=volume.id,
            capacity_range={"required_bytes": 80 * MIB},
        )
    driver.delete_snapshot(snapshot)
    driver.delete(volume)
    wait_until_wiped(lab)
