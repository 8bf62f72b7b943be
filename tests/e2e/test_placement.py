"""Where new volumes go: many at once, by zones, by parameters."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.e2e.driver import MIB, Driver, Refused, capability
from tests.e2e.lab.lab import Lab

COUNT = 50
EXTENT = 4 * MIB
HOSTS = ("storage-1", "storage-2")
KEY = "topology.csi-lvm-iscsi.github.io/zone"
ZONES = dict(zip(HOSTS, "ab", strict=True))


def volumes_on(lab: Lab, host: str) -> list[str]:
    """The volumes of a storage host."""
    shown = lab.host(host).exec("lvs", "--noheadings", "-o", "lv_name", "vg0").check().text.split()
    return [each for each in shown if each != "pool"]


def test_fifty_creates_at_once_with_room_for_just_that_many(
    lab: Lab, driver: Driver, name: Callable[[], str]
) -> None:
    room = [
        int(driver.controller("GetCapacity", parameters={"storageHost": host})["availableCapacity"])
        for host in HOSTS
    ]
    assert room[0] == room[1]
    # The largest size of which half of them have room on each host.
    size = room[0] // (COUNT // 2) // EXTENT * EXTENT
    assert room[0] // size == COUNT // 2
    with ThreadPoolExecutor(COUNT) as threads:
        made = list(threads.map(lambda called: driver.create(called, size=size), _names(name)))
    assert len({each.id for each in made}) == COUNT
    assert [len(volumes_on(lab, host)) for host in HOSTS] == [COUNT // 2, COUNT // 2]
    with pytest.raises(Refused, match=r"RESOURCE_EXHAUSTED: storage-[12]: There is no room for"):
        driver.create(name(), size=size)
    with ThreadPoolExecutor(COUNT) as threads:
        list(threads.map(driver.delete, made))


def _names(name: Callable[[], str]) -> list[str]:
    return [name() for _ in range(COUNT)]


def test_parameters_restrict_the_place(lab: Lab, driver: Driver, name: Callable[[], str]) -> None:
    made = [driver.create(name(), storageHost="storage-2", thinPool="pool") for _ in range(3)]
    assert sorted(volumes_on(lab, "storage-2")) == sorted(each.id for each in made)
    with pytest.raises(Refused, match=r"ALREADY_EXISTS.*thin, storageHost storage-1"):
        driver.create(made[0].name, storageHost="storage-1")
    with pytest.raises(Refused, match=r"RESOURCE_EXHAUSTED.*thin, volumeGroup vg9"):
        driver.create(name(), volumeGroup="vg9")
    for each in made:
        driver.delete(each)


@pytest.fixture
def zones(lab: Lab) -> Iterator[None]:
    """Each storage host in a zone of its own, while the test runs."""
    host = lab.host("storage-1")
    path = host.config / "inventory.json"
    before = path.read_text()
    inventory = json.loads(before)
    for each in inventory["storageHosts"]:
        each["zone"] = ZONES[each["name"]]
    for content in (json.dumps(inventory), before):
        path.write_text(content)
        host.exec("pkill", "-KILL", "-f", "csi_lvm_iscsi controller").check()
        host.wait_ready()
        if content != before:
            yield


@pytest.mark.usefixtures("zones")
def test_volumes_go_to_the_zones_asked_for(
    lab: Lab, driver: Driver, name: Callable[[], str]
) -> None:
    def create(called: str, **requirements: list[str]) -> dict[str, Any]:
        topologies = {
            key: [{"segments": {KEY: zone}} for zone in zones]
            for key, zones in requirements.items()
        }
        answer: dict[str, Any] = driver.controller(
            "CreateVolume",
            name=called,
            capacity_range={"required_bytes": 8 * MIB},
            volume_capabilities=[capability(block=True)],
            accessibility_requirements=topologies,
        )["volume"]
        return answer

    told = driver.controller("GetPluginCapabilities")["capabilities"]
    services = [each["service"]["type"] for each in told if "service" in each]
    assert "VOLUME_ACCESSIBILITY_CONSTRAINTS" in services
    near = create(name(), requisite=["a", "b"], preferred=["b", "a"])
    only = create(name(), requisite=["a"])
    assert volumes_on(lab, "storage-1") == [only["volumeId"]]
    assert volumes_on(lab, "storage-2") == [near["volumeId"]]
    assert near["accessibleTopology"] == [{"segments": {KEY: "b"}}]
    with pytest.raises(Refused, match="RESOURCE_EXHAUSTED: No storage host in zone c"):
        create(name(), requisite=["c"])
    for each in (near, only):
        driver.controller("DeleteVolume", volume_id=each["volumeId"])
