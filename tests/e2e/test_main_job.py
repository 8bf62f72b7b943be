"""The main job: a volume is made, written on one node, moved to another, read back, deleted."""

from collections.abc import Callable

import pytest

from tests.e2e.driver import MIB, Driver, checksum, write_pattern
from tests.e2e.lab.lab import Lab


@pytest.mark.parametrize("block", [True, False], ids=["block", "ext4"])
def test_a_volume_moves_with_its_data(
    lab: Lab, driver: Driver, name: Callable[[], str], *, block: bool
) -> None:
    volume = driver.create(name(), block=block)
    driver.attach(volume, "compute-1")
    write_pattern(lab.host("compute-1"), volume, "written on compute-1")
    written = checksum(lab.host("compute-1"), volume)
    driver.detach(volume, "compute-1")

    driver.attach(volume, "compute-2")
    assert checksum(lab.host("compute-2"), volume) == written
    driver.detach(volume, "compute-2")
    driver.delete(volume)


def test_two_volumes_go_to_the_host_with_most_space(
    lab: Lab, driver: Driver, name: Callable[[], str]
) -> None:
    volumes = [driver.create(name(), size=256 * MIB) for _ in range(2)]
    hosts = {
        host
        for host in ("storage-1", "storage-2")
        for volume in volumes
        if volume.id in lab.host(host).exec("lvs", "--noheadings", "-o", "lv_name").check().text
    }
    assert hosts == {"storage-1", "storage-2"}
    for volume in volumes:
        driver.delete(volume)


def test_a_new_volume_reads_as_zeros(lab: Lab, driver: Driver, name: Callable[[], str]) -> None:
    earlier = driver.create(name())
    driver.attach(earlier, "compute-1")
    write_pattern(lab.host("compute-1"), earlier, "of an earlier tenant", mib=64)
    driver.detach(earlier, "compute-1")
    driver.delete(earlier)

    volume = driver.create(name())
    driver.attach(volume, "compute-1")
    script = f"tr -d '\\0' <{volume.data_path} | wc -c"
    assert lab.host("compute-1").exec("sh", "-c", script).check().text == "0"
    driver.detach(volume, "compute-1")
    driver.delete(volume)


def test_listing_names_the_nodes(driver: Driver, name: Callable[[], str]) -> None:
    volume = driver.create(name())
    driver.publish(volume, "compute-2")
    (entry,) = driver.controller("ListVolumes")["entries"]
    assert entry["volume"]["volumeId"] == volume.id
    assert entry["status"]["publishedNodeIds"] == ["compute-2"]
    driver.unpublish(volume, "compute-2")
    driver.delete(volume)


def test_listing_in_pages(driver: Driver, name: Callable[[], str]) -> None:
    volumes = [driver.create(name()) for _ in range(3)]
    first = driver.controller("ListVolumes", max_entries=2)
    rest = driver.controller("ListVolumes", starting_token=first["nextToken"])
    shown = [entry["volume"]["volumeId"] for entry in first["entries"] + rest["entries"]]
    assert shown == sorted(volume.id for volume in volumes)
    for volume in volumes:
        driver.delete(volume)
