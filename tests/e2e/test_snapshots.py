"""Snapshots, and volumes made of them and of other volumes: thin and thick, and across the two."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.driver import MIB, Driver, Refused, Volume, checksum, write_pattern
from tests.e2e.lab.lab import Lab
from tests.e2e.waste import wait_until_wiped

KINDS = ("thin", "thick")
NODE = "compute-1"


def written(lab: Lab, driver: Driver, volume: Volume, text: str) -> str:
    """Write to a volume as a pod does, and take it away again; the checksum of what is in it."""
    driver.attach(volume, NODE)
    write_pattern(lab.host(NODE), volume, text)
    found = checksum(lab.host(NODE), volume)
    driver.detach(volume, NODE)
    return found


def content(lab: Lab, driver: Driver, volume: Volume) -> str:
    """The checksum of what is in a volume."""
    driver.attach(volume, NODE)
    found = checksum(lab.host(NODE), volume)
    driver.detach(volume, NODE)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_snapshot_keeps_what_was_there(
    lab: Lab, driver: Driver, name: Callable[[], str], kind: str
) -> None:
    volume = driver.create(name(), provisioner=kind)
    driver.attach(volume, NODE)
    write_pattern(lab.host(NODE), volume, "before")
    before = checksum(lab.host(NODE), volume)
    snapshot = driver.snapshot(name(), volume)  # while it is in use
    write_pattern(lab.host(NODE), volume, "after")
    driver.detach(volume, NODE)

    restored = driver.create(name(), source=snapshot, provisioner=kind)
    assert content(lab, driver, restored) == before
    for each in (volume, restored):
        driver.delete(each)
    driver.delete_snapshot(snapshot)
    wait_until_wiped(lab)


@pytest.mark.parametrize("to", KINDS)
@pytest.mark.parametrize("kind", KINDS)
def test_restores_and_clones_larger_than_their_source(
    lab: Lab, driver: Driver, name: Callable[[], str], kind: str, to: str
) -> None:
    volume = driver.create(name(), provisioner=kind)
    data = written(lab, driver, volume, "the data")
    snapshot = driver.snapshot(name(), volume)
    for source in (snapshot, volume.id):
        made = driver.create(name(), source=source, provisioner=to, size=80 * MIB)
        assert content(lab, driver, made) == data
        driver.delete(made)
    driver.delete_snapshot(snapshot)
    driver.delete(volume)
    wait_until_wiped(lab)


@pytest.mark.parametrize("kind", KINDS)
def test_a_snapshot_outlives_its_volume_and_then_all_space_is_free(
    lab: Lab, driver: Driver, name: Callable[[], str], kind: str
) -> None:
    volume = driver.create(name(), provisioner=kind)
    data = written(lab, driver, volume, "outlived")
    snapshot = driver.snapshot(name(), volume)
    driver.delete(volume)
    assert driver.controller("ListVolumes") == {}
    (entry,) = driver.controller("ListSnapshots")["entries"]
    assert entry["snapshot"]["sourceVolumeId"] == volume.id

    again = driver.create(volume.name, provisioner=kind)  # the name is free
    restored = driver.create(name(), source=snapshot, provisioner=kind)
    assert content(lab, driver, restored) == data
    for each in (again, restored):
        driver.delete(each)
    driver.delete_snapshot(snapshot)
    wait_until_wiped(lab)


@pytest.mark.parametrize("kind", KINDS)
def test_calls_made_twice(driver: Driver, name: Callable[[], str], kind: str, lab: Lab) -> None:
    volume = driver.create(name(), provisioner=kind)
    other = driver.create(name(), provisioner=kind)
    taken = name()
    snapshot = driver.snapshot(taken, volume)
    assert driver.snapshot(taken, volume) == snapshot
    with pytest.raises(Refused, match="ALREADY_EXISTS"):
        driver.snapshot(taken, other)
    restored = driver.create(name(), source=snapshot, provisioner=kind)
    assert driver.create(restored.name, source=snapshot, provisioner=kind) == restored
    with pytest.raises(Refused, match="ALREADY_EXISTS"):
        driver.create(restored.name, source=other.id, provisioner=kind)
    driver.delete(restored)
    for _ in range(2):
        driver.delete_snapshot(snapshot)
    for each in (volume, other):
        driver.delete(each)
    wait_until_wiped(lab)


def test_what_there_is_not_and_what_is_too_small(driver: Driver, name: Callable[[], str]) -> None:
    volume = driver.create(name())
    snapshot = driver.snapshot(name(), volume)
    with pytest.raises(Refused, match=r"OUT_OF_RANGE.*ask for at least its size"):
        driver.create(name(), source=snapshot, size=32 * MIB)
    driver.delete_snapshot(snapshot)
    driver.delete(volume)
    for source in (snapshot, volume.id, "no-such-volume"):
        with pytest.raises(Refused, match="NOT_FOUND"):
            driver.create(name(), source=source)


def test_listing_snapshots(driver: Driver, name: Callable[[], str]) -> None:
    volumes = [driver.create(name()) for _ in range(2)]
    snapshots = [driver.snapshot(name(), volume) for volume in volumes for _ in range(2)]

    def listed(**request: object) -> list[str]:
        entries = driver.controller("ListSnapshots", **request).get("entries", [])
        return [entry["snapshot"]["snapshotId"] for entry in entries]

    assert listed() == sorted(snapshots)
    assert listed(snapshot_id=snapshots[0]) == [snapshots[0]]
    assert listed(snapshot_id="no-such-snapshot") == []
    assert listed(source_volume_id=volumes[0].id) == sorted(snapshots[:2])
    first = driver.controller("ListSnapshots", max_entries=3)
    rest = listed(starting_token=first["nextToken"])
    assert rest == sorted(snapshots)[3:]
    for snapshot in snapshots:
        driver.delete_snapshot(snapshot)
    for volume in volumes:
        driver.delete(volume)
