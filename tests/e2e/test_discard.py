"""What is discarded on a node goes back to the pool, where tgtd can hand it on (from 1.0.90).

Debian 12's cannot. `make test-discard CSI_TGTD=/path/to/tgtd` tries one that can.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import pytest

from csi_lvm_iscsi.storage.tgt.version import DISCARDS_SINCE, parse_version
from tests.e2e.driver import MIB, Driver, Volume, checksum, insist, write_pattern
from tests.e2e.lab.host import Host
from tests.e2e.lab.lab import Lab

NODE = "compute-1"
SIZE = 512 * MIB
WRITTEN_MIB = 200
TGTD = os.environ.get("CSI_TGTD", "")

NEEDS_NEWER_TGTD = pytest.mark.usefixtures("newer_tgtd")
EACH = pytest.mark.parametrize("fs_type", ["ext4", "xfs"])


@pytest.fixture
def newer_tgtd(lab: Lab, driver: Driver) -> Iterator[None]:
    """The tgtd that CSI_TGTD names, on the storage hosts."""
    del driver  # its end comes after Debian's tgtd is back
    if not TGTD:
        pytest.fail("CSI_TGTD names no tgtd of version 1.0.90 or later, and Debian 12 has none")
    said = subprocess.run([TGTD, "--version"], check=True, capture_output=True, text=True)
    assert parse_version(said.stdout) >= DISCARDS_SINCE
    hosts = [host for host in lab.hosts.values() if host.identity.kind == "storage"]
    for host in hosts:
        _restart(host, f"mount --bind {TGTD} /usr/sbin/tgtd")
    yield
    for host in hosts:
        _restart(host, "umount --lazy /usr/sbin/tgtd || true")


def _restart(storage: Host, change: str) -> None:
    """Change which tgtd there is, and wait until the role has rebuilt the exports in it."""
    ends = "pid=$(pgrep -x tgtd) && kill -KILL $pid && tail --pid=$pid -f /dev/null"
    open_ = "until tgtadm --mode portal --op show | grep -q ':3260,'; do sleep 0.1; done"
    storage.exec("sh", "-ec", f"{change}; {ends}; {open_}").check()


def used(lab: Lab, volume: Volume) -> dict[str, float]:
    """How many percent of a thin volume, and of its pool, are allocated."""
    columns = ("--noheadings", "-o", "lv_name,data_percent", "--select")
    for host in lab.hosts.values():
        if host.identity.kind == "storage":
            select = f"lv_name={volume.id} || lv_name=pool"
            said = host.exec("lvs", *columns, select, "vg0").check().text.split()
            found = {
                name: float(percent) for name, percent in zip(said[::2], said[1::2], strict=True)
            }
            if volume.id in found:
                return {"volume": found[volume.id], "pool": found["pool"]}
    raise AssertionError(f"no storage host has {volume.id}")


def wait_until_used(lab: Lab, volume: Volume, most: float) -> dict[str, float]:
    """Wait until no more of the volume is allocated: a file system discards in its own time."""
    deadline = time.monotonic() + 60
    while (now := used(lab, volume))["volume"] > most:
        assert time.monotonic() < deadline, f"still {now}"
        time.sleep(0.5)
    return now


def forget_complaints(hosts: Iterable[Host]) -> None:
    """What the kernels have logged so far is of earlier tests."""
    for host in hosts:
        host.exec("dmesg", "--clear").check()


def complaints(host: Host) -> list[str]:
    """What the kernel has logged of errors since they were forgotten."""
    return [
        line for line in host.exec("dmesg").check().text.splitlines() if "error" in line.lower()
    ]


def mounted_with_discard(driver: Driver, name: str, fs_type: str) -> Volume:
    """A volume in use on NODE whose file system discards what is removed."""
    volume = driver.create(name, block=False, size=SIZE, fs_type=fs_type)
    volume = replace(volume, mount_flags=("discard",))
    driver.attach(volume, NODE)
    return volume


def limits(host: Host) -> tuple[int, int]:
    """The most bytes that the kernel discards of the disk at once, and zeroes by WRITE SAME."""
    script = (
        "cat /sys/block/sd?/queue/discard_max_bytes /sys/block/sd?/queue/write_zeroes_max_bytes"
    )
    discarded, zeroed = host.exec("sh", "-c", script).check().text.split()
    return int(discarded), int(zeroed)


def fill(lab: Lab, volume: Volume) -> dict[str, float]:
    """Write much into a volume; what is allocated then."""
    write_pattern(lab.host(NODE), volume, "to be removed", mib=WRITTEN_MIB)
    full = used(lab, volume)
    assert full["volume"] > 99 * WRITTEN_MIB * MIB / SIZE
    return full


@EACH
def test_debians_tgtd_takes_no_discards_and_no_harm(
    lab: Lab, driver: Driver, name: Callable[[], str], fs_type: str
) -> None:
    hosts = list(lab.hosts.values())
    forget_complaints(hosts)
    host = lab.host(NODE)
    volume = mounted_with_discard(driver, name(), fs_type)
    assert limits(host) == (0, 0)
    write_pattern(host, volume, "to be removed")
    host.exec("rm", volume.data_path).check()
    host.exec("sync", "-f", volume.target_path).check()
    assert "not supported" in host.exec("fstrim", volume.target_path).stderr.decode()
    write_pattern(host, volume, "written again")
    assert [line for host in hosts for line in complaints(host)] == []
    driver.detach(volume, NODE)
    driver.delete(volume)


@pytest.mark.slow
@EACH
@NEEDS_NEWER_TGTD
def test_fstrim_gives_blocks_back(
    lab: Lab, driver: Driver, name: Callable[[], str], fs_type: str
) -> None:
    host = lab.host(NODE)
    forget_complaints([host])
    volume = driver.create(name(), block=False, size=SIZE, fs_type=fs_type)
    driver.attach(volume, NODE)
    assert limits(host)[0] > 0
    empty = used(lab, volume)
    full = fill(lab, volume)
    host.exec("rm", volume.data_path).check()
    # ext4 trims what is free on the disk, not in its journal (fs/ext4/mballoc.c).
    host.exec("sync", "-f", volume.target_path).check()
    host.exec("fstrim", volume.target_path).check()
    trimmed = wait_until_used(lab, volume, empty["volume"] + 1)
    print(fs_type, "fstrim:", empty, full, trimmed)
    assert trimmed["pool"] < empty["pool"] + 1 < full["pool"]
    assert complaints(host) == []
    driver.detach(volume, NODE)
    driver.delete(volume)


@pytest.mark.slow
@EACH
@NEEDS_NEWER_TGTD
def test_the_mount_option_gives_blocks_back(
    lab: Lab, driver: Driver, name: Callable[[], str], fs_type: str
) -> None:
    host = lab.host(NODE)
    volume = mounted_with_discard(driver, name(), fs_type)
    empty = used(lab, volume)
    full = fill(lab, volume)
    host.exec("rm", volume.data_path).check()
    host.exec("sync", "-f", volume.target_path).check()
    freed = wait_until_used(lab, volume, empty["volume"] + 1)
    print(fs_type, "discard:", empty, full, freed)
    driver.detach(volume, NODE)
    driver.delete(volume)


@pytest.mark.slow
@NEEDS_NEWER_TGTD
def test_raw_block(lab: Lab, driver: Driver, name: Callable[[], str]) -> None:
    host = lab.host(NODE)
    volume = driver.create(name(), size=SIZE)
    driver.attach(volume, NODE)
    full = fill(lab, volume)
    host.exec("blkdiscard", volume.target_path).check()
    freed = wait_until_used(lab, volume, 0)
    print("blkdiscard:", full, freed)
    assert freed["pool"] < full["pool"]
    driver.detach(volume, NODE)
    driver.delete(volume)


@pytest.mark.slow
@NEEDS_NEWER_TGTD
def test_zeros_are_zeros(lab: Lab, driver: Driver, name: Callable[[], str]) -> None:
    """The pool frees whole chunks only: were zeros asked for by UNMAP, parts of one would keep what
    was there. Also after the disk was asked anew, as when it grows."""
    host = lab.host(NODE)
    volume = driver.create(name(), size=64 * MIB)
    driver.attach(volume, NODE)
    for size in (64 * MIB, 128 * MIB):
        driver.grow(volume, NODE, size)
        discarded, zeroed = limits(host)
        assert discarded > 0
        assert zeroed == 0
        write_pattern(host, volume, "old")
        for way in ("blkdiscard --zeroout", "fallocate --zero-range"):
            path = volume.target_path
            host.exec("sh", "-c", f"{way} --offset 8192 --length 8192 {path}").check()
            assert read(host, volume, 8192) == bytes(8192), way
            write_pattern(host, volume, "old")
        # Refused, or done: never said to be done, with the old data still there.
        punched = host.exec(
            *("fallocate", "--punch-hole", "--offset", "8192", "--length", "8192"),
            volume.target_path,
        )
        assert "mode is unsupported" in punched.stderr.decode()
        assert read(host, volume, 8192) == (b"old\n" * 2048)
    driver.detach(volume, NODE)
    driver.delete(volume)


def read(host: Host, volume: Volume, length: int) -> bytes:
    """So many bytes from there on, of the disk and not of a cache."""
    where = ("bs=4096", "skip=2", f"count={length // 4096}", "iflag=direct")
    return host.exec("dd", f"if={volume.target_path}", *where, "status=none").check().stdout


@pytest.mark.slow
@EACH
@NEEDS_NEWER_TGTD
def test_a_hole_in_a_file_reads_as_zeros(
    lab: Lab, driver: Driver, name: Callable[[], str], fs_type: str
) -> None:
    host = lab.host(NODE)
    volume = mounted_with_discard(driver, name(), fs_type)
    write_pattern(host, volume, "old")
    for way in ("--punch-hole", "--zero-range"):
        hole = (way, "--offset", "9000", "--length", "9000")
        host.exec("fallocate", *hole, volume.data_path).check()
        host.exec("sync", "-f", volume.target_path).check()
        host.exec("sh", "-c", "echo 3 >/proc/sys/vm/drop_caches").check()
        script = f"dd if={volume.data_path} bs=1 skip=9000 count=9000 status=none"
        assert host.exec("sh", "-c", script).check().stdout == bytes(9000), way
        write_pattern(host, volume, "old")
    driver.detach(volume, NODE)
    driver.delete(volume)


@pytest.mark.slow
@NEEDS_NEWER_TGTD
def test_a_thick_volume_takes_no_discards(
    lab: Lab, driver: Driver, name: Callable[[], str]
) -> None:
    volume = driver.create(name(), provisioner="thick")
    driver.attach(volume, NODE)
    assert limits(lab.host(NODE)) == (0, 0)
    driver.detach(volume, NODE)
    driver.delete(volume)


@pytest.mark.slow
@EACH
@NEEDS_NEWER_TGTD
def test_an_older_tgtd_takes_over(
    lab: Lab, driver: Driver, name: Callable[[], str], fs_type: str
) -> None:
    """The node's kernel discards still; the file system goes on."""
    host = lab.host(NODE)
    volume = mounted_with_discard(driver, name(), fs_type)
    write_pattern(host, volume, "to be removed", mib=16)
    storage = [each for each in lab.hosts.values() if each.identity.kind == "storage"]
    for each in storage:
        _restart(each, "umount --lazy /usr/sbin/tgtd")
    host.exec("rm", volume.data_path).check()
    host.exec("sync", "-f", volume.target_path, timeout=120).check()
    host.exec("fstrim", volume.target_path)
    write_pattern(host, volume, "written again")
    written = checksum(host, volume)
    for each in storage:
        _restart(each, f"mount --bind {TGTD} /usr/sbin/tgtd")
    insist(lambda: driver.detach(volume, NODE), "UNAVAILABLE")
    insist(lambda: driver.attach(volume, NODE), "UNAVAILABLE")
    assert checksum(host, volume) == written
    host.exec("fstrim", volume.target_path).check()
    driver.detach(volume, NODE)
    driver.delete(volume)
