"""Fencing: a node that lost a volume never writes to it again, whatever state it is in."""

import time
from collections.abc import Callable

import pytest

from tests.e2e.driver import MIB, RETRY_PAUSE, Driver, checksum, write_pattern
from tests.e2e.lab.host import Host
from tests.e2e.lab.lab import Lab
from tests.e2e.test_recovery import storage_of

# Dirty pages in A's cache and a writer that goes on: what must never reach the volume again.
DIRTY = 'dd if=/dev/urandom of="$0" bs=1M count=32 conv=notrunc 2>/dev/null'


@pytest.mark.parametrize("block", [True, False], ids=["block", "ext4"])
def test_a_then_b_then_a(lab: Lab, driver: Driver, name: Callable[[], str], *, block: bool) -> None:
    a, b = lab.host("compute-1"), lab.host("compute-2")
    volume = driver.create(name(), block=block, size=128 * MIB)
    driver.attach(volume, "compute-1")
    write_pattern(a, volume, "A's first")

    a.partition()
    writer = a.start("sh", "-c", DIRTY, volume.data_path)
    driver.unpublish(volume, "compute-1")
    driver.attach(volume, "compute-2")
    write_pattern(b, volume, "B's data", mib=32)
    written = checksum(b, volume, mib=32)
    logged = len(a.log("iscsid"))
    a.heal()
    # A's old session is back on the network and tries to get in; B reads its own.
    wait_for_log(a, "iscsid", "login rejected", logged)
    assert checksum(b, volume, mib=32) == written
    driver.detach(volume, "compute-2")

    driver.publish(volume, "compute-1")
    # kubelet's view of a force-detached volume: the pod is gone, the mounts may not be.
    driver.stage(volume, "compute-1")
    driver.unpublish_from_pod(volume, "compute-1")
    driver.publish_to_pod(volume, "compute-1")
    assert checksum(a, volume, mib=32) == written
    writer.kill()
    driver.detach(volume, "compute-1")
    driver.delete(volume)


def test_the_old_session_never_gets_in_again(
    lab: Lab, driver: Driver, name: Callable[[], str]
) -> None:
    a = lab.host("compute-1")
    volume = driver.create(name())
    driver.attach(volume, "compute-1")
    first = volume.contexts["compute-1"]
    storage = storage_of(lab, volume)
    logged = len(storage.log("tgtd"))
    driver.unpublish(volume, "compute-1")
    second = driver.publish(volume, "compute-1")
    assert first["nonce"] != second["nonce"]
    # The name is allowed again, the target is there: only the password keeps the old session out.
    wait_for_log(storage, "tgtd", "No valid user/pass combination", logged)
    state = a.exec("sh", "-c", "cat /sys/class/iscsi_session/*/state").check().text
    assert state != "LOGGED_IN"
    shown = storage.exec("tgtadm", "--mode", "target", "--op", "show").check().text
    assert "Initiator:" not in shown
    driver.unpublish_from_pod(volume, "compute-1")
    driver.stage(volume, "compute-1")
    driver.publish_to_pod(volume, "compute-1")
    write_pattern(a, volume, "by the new session")
    driver.detach(volume, "compute-1")
    driver.delete(volume)


def test_a_peer_that_vanished_while_reading_is_fenced(
    lab: Lab, driver: Driver, name: Callable[[], str]
) -> None:
    """tgtd's send buffer to it is full, so that closing the connection alone does nothing."""
    a = lab.host("compute-1")
    volume = driver.create(name(), size=256 * MIB)
    driver.attach(volume, "compute-1")
    write_pattern(a, volume, "much to read", mib=200)
    reading = (
        f"fio --name=read --filename={volume.data_path} --direct=1 --rw=read --bs=1M "
        "--iodepth=16 --ioengine=libaio --time_based --runtime=300 --size=200M"
    )
    reader = a.start("sh", "-c", reading)
    wait_until_read(lab, "compute-1")
    a.partition()
    driver.unpublish(volume, "compute-1")
    a.heal()
    driver.publish(volume, "compute-2")
    driver.unpublish(volume, "compute-2")
    driver.publish(volume, "compute-1")
    driver.stage(volume, "compute-1")
    assert reader.wait(60).status != 0, "the reader still reads through the old session"
    driver.detach(volume, "compute-1")
    driver.delete(volume)


def wait_for_log(host: Host, service: str, text: str, since: int, seconds: float = 60) -> None:
    """Wait until a service has logged `text` behind the first `since` characters of its log."""
    deadline = time.monotonic() + seconds
    while text not in host.log(service)[since:]:
        assert time.monotonic() < deadline, f"{host.name}'s {service} never logged {text!r}"
        time.sleep(RETRY_PAUSE)


def wait_until_read(lab: Lab, host: str, mib: int = 20) -> None:
    """Wait until so much was read from the one disk of the host."""
    script = (
        "until read _ _ sectors _ </sys/block/$(ls /sys/block | grep ^sd)/stat && "
        '[ "$sectors" -gt "$0" ]; do sleep 0.1; done'
    )
    lab.host(host).exec("sh", "-c", script, str(mib * 2048)).check()
