"""Fencing: a node that lost a volume never writes to it again, whatever state it is in."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.driver import MIB, RETRY_PAUSE, Driver, Volume, checksum, write_pattern
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
    reader = a.start("sh", "-c", reading(volume, 300))
    wait_until_read(lab, "compute-1")
    a.partition()
    began = time.monotonic()
    driver.unpublish(volume, "compute-1")
    seconds = time.monotonic() - began
    a.heal()
    assert seconds < 12, f"TCP did not give it up: the fence took {seconds:.1f} s"
    driver.publish(volume, "compute-2")
    driver.unpublish(volume, "compute-2")
    driver.publish(volume, "compute-1")
    driver.stage(volume, "compute-1")
    assert reader.wait(60).status != 0, "the reader still reads through the old session"
    driver.detach(volume, "compute-1")
    driver.delete(volume)


def test_a_reader_that_vanished_in_the_middle_of_an_answer_holds_nobody_up(
    lab: Lab, driver: Driver, name: Callable[[], str]
) -> None:
    """tgtd before 1.0.89 does nothing but write to it, over and over, until TCP gives it up.

    Room for whole answers keeps it from that; should there be none, others wait for 4 s.
    """
    vanishing, other = (driver.create(name(), storageHost="storage-1") for _ in range(2))
    with small_send_buffers(lab.host("storage-1")):
        driver.attach(vanishing, "compute-1")
        driver.attach(other, "compute-2")
        reader = lab.host("compute-1").start("sh", "-c", reading(vanishing, 25))
        wait_until_read(lab, "compute-1")
        beside = lab.host("compute-2").start("sh", "-c", reading(other, 15))
        lab.host("compute-1").partition()
        longest = longest_answer(beside.wait(90).check().text)
        lab.host("compute-1").heal()
    assert longest < 3, f"a read of another node took {longest:.1f} s"
    reader.wait(120).check()
    driver.detach(vanishing, "compute-1")
    driver.detach(other, "compute-2")
    for volume in (vanishing, other):
        driver.delete(volume)


@contextlib.contextmanager
def small_send_buffers(storage: Host) -> Iterator[None]:
    """What a connection has that was slow: no room for a whole answer, which tgtd writes in
    parts."""
    limits = "/proc/sys/net/ipv4/tcp_wmem"
    before = storage.read(limits)
    storage.exec("sh", "-c", f"echo 4096 16384 65536 >{limits}").check()
    try:
        yield
    finally:
        storage.exec("sh", "-c", f"cat >{limits}", input=before).check()


def reading(volume: Volume, seconds: int) -> str:
    """A command that reads a volume all the time, a MiB at once."""
    return (
        f"fio --name=read --filename={volume.data_path} --direct=1 --rw=read --bs=1M --iodepth=16 "
        f"--ioengine=libaio --time_based --runtime={seconds} --size=32M --output-format=json"
    )


def longest_answer(report: str) -> float:
    """The longest that a read took, in seconds, of a report of fio's."""
    nanoseconds: int = json.loads(report)["jobs"][0]["read"]["clat_ns"]["max"]
    return nanoseconds / 1e9


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
