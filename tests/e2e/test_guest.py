"""A volume hot-plugged into a running guest: what it reads, writes, and never notices."""

from collections.abc import Callable, Iterator

import pytest

from tests.e2e.driver import MIB, Driver, Volume, write_pattern
from tests.e2e.guest.errors import GuestError
from tests.e2e.guest.guest import SERIAL_DIGITS, Guest
from tests.e2e.lab.host import Host
from tests.e2e.lab.lab import Lab
from tests.e2e.test_recovery import storage_of

SIZE, GROWN = 64 * MIB, 96 * MIB
BLOCK = 4096
WRITES = 40
"""Lines that the guest writes to a new disk, which take it some seconds."""

KILL = "until pkill -KILL qemu-system; do sleep 0.1; done"


def test_a_guest_that_died_says_so(lab: Lab) -> None:
    host = lab.host("compute-1")
    with Guest(host) as guest:
        host.exec("sh", "-c", KILL).check()
        with pytest.raises(GuestError, match=r"(?s)ended before it said 'up: '.*status -9"):
            guest.wait_up()


@pytest.fixture(scope="module")
def guest(lab: Lab) -> Iterator[Guest]:
    """A guest on compute-1 that is up."""
    with Guest(lab.host("compute-1"), writes=WRITES) as guest:
        guest.wait_up()
        yield guest


def read_block(host: Host, volume: Volume, number: int) -> str:
    """The text that the guest wrote into a block, read from the device and not from a cache."""
    script = 'dd if="$1" bs="$2" skip="$3" count=1 iflag=direct status=none'
    arguments = (volume.target_path, str(BLOCK), str(number))
    return host.exec("sh", "-c", script, "sh", *arguments).check().text


def written(numbers: range) -> list[str]:
    """What the guest says of the lines that it has written to a new disk."""
    return [f"sda block {number} written: line {number} of the guest" for number in numbers]


def test_from_a_pod_to_a_guest_and_back(
    lab: Lab, driver: Driver, name: Callable[[], str], guest: Guest
) -> None:
    pods = lab.host("compute-2")
    volume = driver.create(name(), size=SIZE)
    driver.attach(volume, "compute-2")
    write_pattern(pods, volume, "written by a pod")
    driver.detach(volume, "compute-2")
    driver.attach(volume, "compute-1")
    serial = volume.contexts["compute-1"]["serial"]

    guest.plug(volume.target_path, serial)
    assert guest.hear(f"block {WRITES} ") == [
        f"sda appeared: 64 MiB, serial {serial[:SERIAL_DIGITS]}",
        "sda begins with: written by a pod",
        *written(range(1, WRITES + 1)),
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
    assert read_block(pods, volume, WRITES) == f"line {WRITES} of the guest"
    assert read_block(pods, volume, last) == "the end, by the guest"
    driver.detach(volume, "compute-2")
    driver.delete(volume)


def test_tgtd_killed_while_a_guest_writes(
    lab: Lab, driver: Driver, name: Callable[[], str], guest: Guest
) -> None:
    volume = driver.create(name(), size=SIZE)
    driver.attach(volume, "compute-1")
    serial = volume.contexts["compute-1"]["serial"]
    storage = storage_of(lab, volume)
    silent_until = len(guest.log)
    guest.plug(volume.target_path, serial)
    guest.hear("block 5 ")
    storage.exec("pkill", "-KILL", "tgtd").check()
    assert f"block {WRITES} " not in guest.log[silent_until:], "tgtd died too late"
    assert guest.hear(f"block {WRITES} ") == written(range(6, WRITES + 1))
    assert "I/O error" not in guest.log[silent_until:]
    guest.unplug(serial)
    driver.detach(volume, "compute-1")
    driver.attach(volume, "compute-2")
    assert read_block(lab.host("compute-2"), volume, WRITES) == f"line {WRITES} of the guest"
    driver.detach(volume, "compute-2")
    driver.delete(volume)


def test_what_fails_is_told_with_the_guests_log(guest: Guest) -> None:
    with pytest.raises(
        GuestError, match=r"(?s)compute-1 did not say 'sdz' in 0.5 s.*log:\n.*guest: "
    ):
        guest.hear("sdz", timeout=0.5)
    with pytest.raises(GuestError, match=r"(?s)/nowhere.*log:\n.*guest: "):
        guest.plug("/nowhere", "0123456789abcdef0123")
