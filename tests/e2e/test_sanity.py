"""csi-sanity, all of it that the driver's capabilities call for."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest

from tests.e2e import conformance
from tests.e2e.driver import Driver
from tests.e2e.lab.lab import Lab
from tests.e2e.sanity import conformance as sanity
from tests.e2e.sanity.run import NODE, run
from tests.e2e.sanity.specs import Spec

ACCESS_TYPES = ("mount", "block")
Runs = Callable[[str], list[Spec]]


@pytest.fixture(scope="module")
def runs(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """The run with an access type: made once, when it is first asked for."""
    scratch = tmp_path_factory.mktemp("sanity")
    return functools.cache(lambda access_type: run(lab, access_type, scratch))


@pytest.fixture
def declared(driver: Driver) -> set[str]:
    """What the driver declares, as `controller CLONE_VOLUME`."""
    controller = driver.controller("ControllerGetCapabilities")["capabilities"]
    node = driver.node(NODE, "NodeGetCapabilities")["capabilities"]
    plugin = driver.controller("GetPluginCapabilities")["capabilities"]
    limited = "maxVolumesPerNode" in driver.node(NODE, "NodeGetInfo")
    return {
        *(f"controller {each['rpc']['type']}" for each in controller),
        *(f"node {each['rpc']['type']}" for each in node),
        *(f"plugin {kind['type']}" for each in plugin for kind in each.values()),
        *(["node max_volumes_per_node"] if limited else []),
    }


@pytest.mark.parametrize("access_type", ACCESS_TYPES)
def test_csi_sanity(runs: Runs, declared: set[str], access_type: str) -> None:
    wrong = []
    for spec in runs(access_type):
        try:
            spec.outcome(declared)
        except AssertionError as error:
            wrong.append(str(error))
    if wrong:
        pytest.fail("\n\n".join([f"{len(wrong)} specs are not met:", *wrong]), pytrace=False)


def test_the_conformance_page_is_what_came_out(
    runs: Runs, declared: set[str], request: pytest.FixtureRequest
) -> None:
    section = sanity.section({each: runs(each) for each in ACCESS_TYPES}, declared)
    if request.config.getoption("--record"):
        conformance.write_section(sanity.TITLE, section)
    assert section.strip() == conformance.section(sanity.TITLE).strip(), (
        "run `make conformance`, and look at the difference"
    )


def test_pages_of_a_list_while_volumes_come_and_go(driver: Driver, name: Callable[[], str]) -> None:
    # csi-test has disabled its own, as a driver's order may not be known; ours is that of the ids.
    volumes = {volume.id: volume for volume in (driver.create(name()) for _ in range(3))}
    page = driver.controller("ListVolumes", max_entries=2)
    shown = [entry["volume"]["volumeId"] for entry in page["entries"]]
    assert shown == sorted(volumes)[:2]

    for volume_id in shown:
        driver.delete(volumes.pop(volume_id))
    added = driver.create(name())
    rest = driver.controller("ListVolumes", starting_token=page["nextToken"])
    following = [entry["volume"]["volumeId"] for entry in rest["entries"]]
    volumes[added.id] = added
    assert following == sorted(volume_id for volume_id in volumes if volume_id > shown[-1])
    for volume in volumes.values():
        driver.delete(volume)


def test_controller_and_node_are_one_plugin(driver: Driver) -> None:
    # csi-sanity asks one of them or the other, and never compares.
    for method in ("GetPluginInfo", "GetPluginCapabilities"):
        assert driver.controller(method) == driver.node(NODE, method)
