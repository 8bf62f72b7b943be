"""A volume hot-plugged into a running guest: what it reads, writes, and never notices."""

from collections.abc import Callable

import pytest

from tests.e2e.driver import MIB, Driver, Volume, write_pattern
from tests.e2e.guest.errors import GuestError
from tests.e2e.guest.guest import SERIAL_DIGITS, Guest
from tests.e2e.lab.host import Host
from tests.e2e.lab.lab import Lab
from tests.e2e.test_recovery import storage_of

SIZE, GROWN = 64 * MIB, 96 * MIB
BLOCK = 4096


def read_block(host: Host, volume: Volume, number: int) -> str:
    """The text that the guest wrote into a block, read from the device and not from a cache."""
    script = 'dd if="$1" bs="$2" skip="$3" count=1 iflag=direct status=none'
    arguments = (volume.target_path, str(BLOCK), str(number))
    return host.exec("sh", "-c", script, "sh", *arguments).check().text


def test_from_a_pod_to_a_guest_and_back(lab: Lab, driver: Driver, name: Callable[[], str]) -> None:
    pods = lab.host("compute-2")
    with Guest(lab.host("compute-1")) as guest:
        volume = driver.create(name(), size=SIZE)
        driver.attach(volume, "compute-2")
        write_pattern(pods, volume, "written by a pod")
        driver.detach(volume, "compute-2")
        driver.attach(volume, "compute-1")
        serial = volume.contexts["compute-1"]["serial"]
        guest.wait_up()

        guest.plug(volume.target_path, serial)
        assert guest.hear("block 1 ") == [
            f"sda appeared: 64 MiB, serial {serial[:SERIAL_DIGITS]}",
            "sda begins with: written by a pod",
            "sda block 1 written: line 1 of the guest",
        ]
        driver.expand(volume, "compute-1", GROWN)
        guest.resize(serial, GROWN)
        last = GROWN // BLOCK - 1
        assert guest.hear(f"block {last} ") == [
            "sda grew: 96 MiB",
            f"sda block {last} written: the end, by the guest",
        ]
        assert guest.unplug(serial) == ["sda is gone"]

        driver.detach(volume, "compute-1")
        driver.attach(volume, "compute-2")
        assert read_block(pods, volume, 1) == "line 1 of the guest"
        assert read_block(pods, volume, last) == "the end, by the guest"
        driver.detach(volume, "compute-2")
        driver.delete(volume)


def test_tgtd_killed_while_a_guest_writes(
    lab: Lab, driver: Driver, name: Callable[[], str]
) -> None:
    writes = 60
    volume = driver.create(name(), size=SIZE)
    with Guest(lab.host("compute-1"), writes=writes) as guest:
        driver.attach(volume, "compute-1")
        serial = volume.contexts["compute-1"]["serial"]
        storage = storage_of(lab, volume)
        guest.wait_up()
        guest.plug(volume.target_path, serial)
        guest.hear("block 10 ")
        storage.exec("pkill", "-KILL", "tgtd").check()
        assert f"block {writes} " not in guest.log, "it had written all before tgtd died"
        said = guest.hear(f"block {writes} ")
        assert said == [
            f"sda block {number} written: line {number} of the guest"
            for number in range(11, writes + 1)
        ]
        assert "I/O error" not in guest.log
        guest.unplug(serial)
        driver.detach(volume, "compute-1")
    driver.attach(volume, "compute-2")
    assert read_block(lab.host("compute-2"), volume, writes) == f"line {writes} of the guest"
    driver.detach(volume, "compute-2")
    driver.delete(volume)


def test_a_guest_that_does_not_answer_is_told_with_its_log(lab: Lab) -> None:
    with Guest(lab.host("compute-1")) as guest:
        guest.wait_up()
        with pytest.raises(GuestError, match=r"(?s)compute-1 did not say 'sdz' .*guest: up: Linux"):
            guest.hear("sdz", timeout=0.5)
        with pytest.raises(GuestError, match=r"(?s)/nowhere.*guest: up: Linux"):
            guest.plug("/nowhere", "0123456789abcdef0123")
        lab.host("compute-1").exec("pkill", "-KILL", "qemu-system").check()
        with pytest.raises(GuestError, match=r"ended before it said 'sdz'"):
            guest.hear("sdz")
