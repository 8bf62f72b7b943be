"""What kubelet is told of volumes: how full they are, and what is wrong with them."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.driver import MIB, Driver, Refused, Volume, insist, write_pattern
from tests.e2e.lab.lab import Lab

NODE = "compute-1"
SIZE = {"": 64 * MIB, "ext4": 64 * MIB, "xfs": 320 * MIB}

EACH = pytest.mark.parametrize("fs_type", ["ext4", "xfs"])


def new(driver: Driver, name: Callable[[], str], fs_type: str) -> Volume:
    return driver.create(name(), block=not fs_type, size=SIZE[fs_type], fs_type=fs_type)


def usage(driver: Driver, volume: Volume) -> dict[str, dict[str, Any]]:
    """By unit."""
    answer = driver.node(
        NODE, "NodeGetVolumeStats", volume_id=volume.id, volume_path=volume.target_path
    )
    return {each["unit"]: each for each in answer["usage"]}


def reasons(driver: Driver, volume: Volume) -> list[str]:
    """What is wrong with a volume."""
    answer = driver.node(
        NODE, "NodeGetVolumeHealth", volume_id=volume.id, volume_publish_path=volume.target_path
    )
    return [each["reason"] for each in answer["volumeHealth"].get("healthStatuses", [])]


def wait_until(driver: Driver, volume: Volume, expected: list[str], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while (found := reasons(driver, volume)) != expected:
        assert time.monotonic() < deadline, found
        time.sleep(0.2)


@EACH
def test_a_file_system_fills(
    lab: Lab, driver: Driver, name: Callable[[], str], fs_type: str
) -> None:
    volume = new(driver, name, fs_type)
    driver.attach(volume, NODE)
    before = usage(driver, volume)
    write_pattern(lab.host(NODE), volume, "so much", mib=16)
    after = usage(driver, volume)
    grown = int(after["BYTES"]["used"]) - int(before["BYTES"]["used"])
    assert 16 * MIB <= grown < 18 * MIB
    assert int(after["INODES"]["used"]) - int(before["INODES"]["used"]) == 1
    assert reasons(driver, volume) == []
    driver.detach(volume, NODE)
    with pytest.raises(Refused, match="is not staged") as refused:
        usage(driver, volume)
    assert refused.value.code == "NOT_FOUND"
    driver.delete(volume)


def test_raw_block_has_a_size(driver: Driver, name: Callable[[], str]) -> None:
    volume = new(driver, name, "")
    driver.attach(volume, NODE)
    assert usage(driver, volume) == {"BYTES": {"unit": "BYTES", "total": str(SIZE[""])}}
    assert reasons(driver, volume) == []
    driver.detach(volume, NODE)
    driver.delete(volume)


def test_a_cut_session_is_told_at_once(lab: Lab, driver: Driver, name: Callable[[], str]) -> None:
    """And nothing hangs, though a write does."""
    host = lab.host(NODE)
    volume = new(driver, name, "ext4")
    driver.attach(volume, NODE)
    host.partition()
    writing = host.start(
        "dd", "if=/dev/zero", f"of={volume.data_path}", "bs=1M", "count=1", "conv=fsync"
    )
    wait_until(driver, volume, ["SessionCut"], 40)
    began = time.monotonic()
    with pytest.raises(Refused, match="is cut") as refused:
        usage(driver, volume)
    assert refused.value.code == "UNAVAILABLE"
    assert time.monotonic() - began < 5
    host.heal()
    wait_until(driver, volume, [], 60)
    writing.wait(60).check()
    assert int(usage(driver, volume)["BYTES"]["used"]) > 0
    insist(lambda: driver.detach(volume, NODE), "UNAVAILABLE")
    driver.delete(volume)


@pytest.mark.parametrize(
    ("fs_type", "reason"), [("ext4", "FileSystemReadOnly"), ("xfs", "FileSystemShutDown")]
)
def test_a_disk_that_failed_for_a_while(
    lab: Lab, driver: Driver, name: Callable[[], str], fs_type: str, reason: str
) -> None:
    """Its file system is unusable until it is staged anew; and is whole then."""
    host = lab.host(NODE)
    volume = new(driver, name, fs_type)
    driver.attach(volume, NODE)
    write_pattern(host, volume, "before")
    state = "/sys/block/sda/device/state"
    host.exec("sh", "-c", f"echo offline >{state}").check()
    assert reasons(driver, volume) == ["DiskOffline"]
    assert host.exec("sh", "-c", f"touch {volume.target_path}/new && sync").status != 0
    host.exec("sh", "-c", f"echo running >{state}").check()
    wait_until(driver, volume, [reason], 40)
    driver.detach(volume, NODE)

    driver.attach(volume, NODE)
    assert reasons(driver, volume) == []
    write_pattern(host, volume, "after")
    driver.detach(volume, NODE)
    driver.delete(volume)
