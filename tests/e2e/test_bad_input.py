"""Bad input: the code that CSI names, a message that says what to do, nothing left behind."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.driver import GIB, MIB, Driver, Refused, capability
from tests.e2e.lab.lab import Lab

ASCII = "".join(map(chr, range(32, 127))) + "\t\n"
UNKNOWN_ID = "00000000-pvc-unknown"
SHARED = "MULTI_NODE_MULTI_WRITER"


def refusal(call: Callable[[], Any]) -> Refused:
    with pytest.raises(Refused) as caught:
        call()
    return caught.value


@pytest.mark.parametrize(
    ("size", "code", "says"),
    [
        ({"required_bytes": -1}, "INVALID_ARGUMENT", "negative"),
        ({"limit_bytes": -1}, "INVALID_ARGUMENT", "negative"),
        ({"required_bytes": 2 * MIB, "limit_bytes": MIB}, "INVALID_ARGUMENT", "above the limit"),
        ({"required_bytes": MIB, "limit_bytes": 2 * MIB}, "OUT_OF_RANGE", "extents of 4 MiB"),
        ({"required_bytes": 1 << 50}, "OUT_OF_RANGE", "larger than all of vg0/pool"),
        ({"required_bytes": (1 << 63) - 1}, "OUT_OF_RANGE", ""),
    ],
)
def test_sizes_that_cannot_be(
    driver: Driver, name: Callable[[], str], size: dict[str, int], code: str, says: str
) -> None:
    error = refusal(
        lambda: driver.controller(
            "CreateVolume",
            name=name(),
            capacity_range=size,
            volume_capabilities=[capability(block=True)],
        )
    )
    assert error.code == code
    assert says in error.message


@pytest.mark.parametrize(
    ("size", "expected"),
    [({}, GIB), ({"required_bytes": 0}, GIB), ({"limit_bytes": 8 * MIB}, 8 * MIB),
     ({"required_bytes": 1}, 4 * MIB), ({"required_bytes": 5 * MIB}, 8 * MIB)],
)  # fmt: skip
def test_sizes_that_are_rounded(
    driver: Driver, name: Callable[[], str], size: dict[str, int], expected: int
) -> None:
    answer = driver.controller(
        "CreateVolume",
        name=name(),
        capacity_range=size,
        volume_capabilities=[capability(block=True)],
    )
    assert int(answer["volume"]["capacityBytes"]) == expected
    driver.controller("DeleteVolume", volume_id=answer["volume"]["volumeId"])


@pytest.mark.parametrize(
    "name",
    ["a", "..", "-" * 60, "a" * 128, ASCII[:64], ASCII[64:], "日本語" * 14, "../../etc/passwd",
     "vol_mlog", "h.abc", "--yes"],
)  # fmt: skip
def test_names_that_csi_allows(lab: Lab, driver: Driver, name: str) -> None:
    volume = driver.create(name)
    again = driver.create(name)
    assert again.id == volume.id
    tags = f"lvs --noheadings -o lv_tags vg0/{volume.id}"
    hosts = [lab.host("storage-1"), lab.host("storage-2")]
    assert sum(host.exec("sh", "-c", tags).status == 0 for host in hosts) == 1
    driver.publish(volume, "compute-1")
    driver.unpublish(volume, "compute-1")
    driver.delete(volume)


@pytest.mark.parametrize("name", ["", "a" * 129, "ä" * 65, "nul\0", "\x1b[31m"])
def test_names_that_csi_forbids(driver: Driver, name: str) -> None:
    assert refusal(lambda: driver.create(name)).code == "INVALID_ARGUMENT"


def test_the_same_name_in_another_size(driver: Driver, name: Callable[[], str]) -> None:
    volume = driver.create(name(), size=64 * MIB)
    error = refusal(lambda: driver.create(volume.name, size=128 * MIB))
    assert error.code == "ALREADY_EXISTS"
    driver.delete(volume)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"parameters": {"provisionr": "thin"}}, "known are provisioner"),
        ({"parameters": {"provisioner": "fat"}}, "must be one of thin"),
        ({"volume_capabilities": []}, "name at least one"),
        ({"volume_capabilities": [{"access_mode": {"mode": "SINGLE_NODE_WRITER"}}]}, "neither"),
        ({"volume_capabilities": [capability(block=False, fs_type="ntfs")]}, "choose one of ext4"),
        ({"volume_capabilities": [capability(block=True, mode="UNKNOWN")]}, "choose one of"),
        ({"volume_capabilities": [capability(block=False, mode=SHARED)]}, "raw block"),
        ({"volume_content_source": {"volume": {}}}, "names no snapshot and no volume"),
    ],
)  # fmt: skip
def test_requests_that_the_driver_cannot_serve(
    driver: Driver, name: Callable[[], str], change: dict[str, Any], says: str
) -> None:
    request = {"name": name(), "volume_capabilities": [capability(block=True)], **change}
    error = refusal(lambda: driver.controller("CreateVolume", **request))
    assert error.code == "INVALID_ARGUMENT"
    assert says in error.message


@pytest.mark.parametrize(
    "volume_id", [UNKNOWN_ID, "not an id", "../x", "x" * 300, "b50993d2-" + "x" * 200]
)
def test_unknown_volumes(driver: Driver, volume_id: str) -> None:
    driver.controller("DeleteVolume", volume_id=volume_id)
    driver.controller("ControllerUnpublishVolume", volume_id=volume_id, node_id="compute-1")
    common = {"volume_id": volume_id, "node_id": "compute-1"}
    for call in (
        lambda: driver.controller(
            "ControllerPublishVolume", **common, volume_capability=capability(block=True)
        ),
        lambda: driver.controller(
            "ValidateVolumeCapabilities",
            volume_id=volume_id,
            volume_capabilities=[capability(block=True)],
        ),
    ):
        error = refusal(call)
        assert error.code == "NOT_FOUND"
        assert volume_id in error.message


def test_an_unknown_volume_of_a_known_volume_group(driver: Driver, name: Callable[[], str]) -> None:
    volume = driver.create(name())
    driver.delete(volume)
    assert refusal(lambda: driver.publish(volume, "compute-1")).code == "NOT_FOUND"
    driver.unpublish(volume, "compute-1")


def test_an_unknown_node(driver: Driver, name: Callable[[], str]) -> None:
    volume = driver.create(name())
    error = refusal(lambda: driver.publish(volume, "compute-9"))
    assert error.code == "NOT_FOUND"
    assert "compute-9" in error.message
    driver.unpublish(volume, "compute-9")
    driver.delete(volume)


def test_a_second_node_is_told_who_has_the_volume(driver: Driver, name: Callable[[], str]) -> None:
    volume = driver.create(name())
    driver.publish(volume, "compute-1")
    error = refusal(lambda: driver.publish(volume, "compute-2"))
    assert error.code == "FAILED_PRECONDITION"
    assert "compute-1" in error.message
    assert refusal(lambda: driver.delete(volume)).code == "FAILED_PRECONDITION"
    driver.unpublish(volume, "")
    driver.delete(volume)


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("CreateVolume", {}),
        ("DeleteVolume", {}),
        ("ControllerPublishVolume", {}),
        ("ControllerPublishVolume", {"volume_id": UNKNOWN_ID}),
        ("ControllerPublishVolume", {"volume_id": UNKNOWN_ID, "node_id": "compute-1"}),
        ("ControllerUnpublishVolume", {}),
        ("ValidateVolumeCapabilities", {}),
        ("ValidateVolumeCapabilities", {"volume_id": UNKNOWN_ID}),
        ("ListVolumes", {"max_entries": -1}),
    ],
)
def test_requests_to_the_controller_that_lack_something(
    driver: Driver, method: str, request_: dict[str, Any]
) -> None:
    assert refusal(lambda: driver.controller(method, **request_)).code == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("NodeStageVolume", {}),
        ("NodeStageVolume", {"volume_id": UNKNOWN_ID}),
        ("NodeStageVolume", {"volume_id": UNKNOWN_ID, "staging_target_path": "/run/test/x"}),
        ("NodeUnstageVolume", {}),
        ("NodeUnstageVolume", {"volume_id": UNKNOWN_ID}),
        ("NodePublishVolume", {}),
        ("NodePublishVolume", {"volume_id": UNKNOWN_ID}),
        ("NodeUnpublishVolume", {}),
        ("NodeUnpublishVolume", {"volume_id": UNKNOWN_ID}),
    ],
)
def test_requests_to_the_node_that_lack_something(
    driver: Driver, method: str, request_: dict[str, Any]
) -> None:
    error = refusal(lambda: driver.node("compute-1", method, **request_))
    assert error.code == "INVALID_ARGUMENT"


def test_validating_capabilities(driver: Driver, name: Callable[[], str]) -> None:
    volume = driver.create(name())
    good = [capability(block=True)]
    answer = driver.controller(
        "ValidateVolumeCapabilities", volume_id=volume.id, volume_capabilities=good
    )
    assert "confirmed" in answer
    bad = [capability(block=False, mode=SHARED)]
    answer = driver.controller(
        "ValidateVolumeCapabilities", volume_id=volume.id, volume_capabilities=bad
    )
    assert "confirmed" not in answer
    assert "use raw block" in answer["message"]
    driver.delete(volume)
