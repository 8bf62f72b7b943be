"""A thin pool that fills up: it stops provisioning, and is extended when there is room."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.e2e.driver import MIB, Driver, Refused
from tests.e2e.lab.host import Host
from tests.e2e.lab.lab import Lab
from tests.e2e.waiting import await_that
from tests.e2e.waste import zero_free_extents

POOL = "small"
SIZE = 64
# A pool without room is tried again after a minute (storage/extending.py).
EXTEND_SECONDS = 150


@pytest.fixture
def host(lab: Lab) -> Iterator[Host]:
    """A storage host that serves a small pool, too, in a volume group that has nothing left."""
    host = lab.host("storage-1")
    script = host._scripts / "storage"
    before = script.read_text()
    host.exec(
        "lvcreate", "--yes", "--type", "thin-pool", "--zero", "y", "--size", f"{SIZE}M",
        "--config", "activation/error_when_full=1", "--name", POOL, "vg0",
    ).check()  # fmt: skip
    host.exec("lvcreate", "--yes", "--extents", "100%FREE", "--name", "filler", "vg0").check()
    _serve(host, before.rstrip() + f" --thin-pool vg0/{POOL}\n")
    yield host
    _serve(host, before)
    host.exec("lvremove", "--yes", "vg0/filler")  # where a test failed before it did that
    host.exec("lvremove", "--yes", f"vg0/{POOL}").check()
    zero_free_extents(host)


def _serve(host: Host, script: str) -> None:
    # In the host's own root, which lies over the builder's.
    host.write(str(host._scripts / "storage"), script.encode())
    host.exec("pkill", "-KILL", "-f", "csi_lvm_iscsi storage").check()
    host.wait_ready()


def available(driver: Driver) -> int:
    answer = driver.controller("GetCapacity", parameters={"thinPool": POOL})
    return int(answer.get("availableCapacity", 0))


def sizes(host: Host) -> list[int]:
    """The sizes of the pool and of its metadata, in MiB."""
    columns = "lv_size,lv_metadata_size"
    shown = host.exec(
        "lvs", "--noheadings", "--units", "m", "--nosuffix", "-o", columns, f"vg0/{POOL}"
    ).check()
    return [int(float(each)) for each in shown.text.split()]


def write(host: Host, volume_id: str, mib: int) -> None:
    path = f"/dev/vg0/{volume_id}"
    script = 'yes | head -c "$1" | dd of="$2" bs=1M iflag=fullblock oflag=direct'
    host.exec("sh", "-c", script, "sh", str(mib * MIB), path).check()


def test_a_pool_stops_before_it_is_full_and_goes_on_when_it_was_extended(
    driver: Driver, host: Host, name: Callable[[], str]
) -> None:
    volume = driver.create(name(), size=SIZE * MIB, thinPool=POOL)
    snapshot = driver.snapshot(name(), volume)
    write(host, volume.id, SIZE * 15 // 16)
    await_that(lambda: available(driver) == 0, "the pool is not known to be full", 60)
    told = r"Nothing is made in thin pool vg0/small: 9\d\.\d % of its data are"
    told_of_host = f"RESOURCE_EXHAUSTED: storage-1: {told}"
    with pytest.raises(Refused, match=told_of_host):
        driver.create(name(), size=4 * MIB, thinPool=POOL)
    with pytest.raises(Refused, match=f"RESOURCE_EXHAUSTED: {told}"):
        driver.snapshot(name(), volume)
    with pytest.raises(Refused, match=told_of_host):
        driver.controller(
            "CreateVolume",
            name=name(),
            capacity_range={"required_bytes": SIZE * MIB},
            volume_capabilities=[{"block": {}, "access_mode": {"mode": "SINGLE_NODE_WRITER"}}],
            parameters={"thinPool": POOL},
            volume_content_source={"snapshot": {"snapshot_id": snapshot}},
        )
    assert sizes(host)[0] == SIZE
    complaint = "has no free extents: add a disk"
    await_that(lambda: complaint in host.log("storage"), "nobody is told to add a disk", 30)

    host.exec("lvremove", "--yes", "vg0/filler").check()
    await_that(lambda: sizes(host)[0] > SIZE, "the pool was not extended", EXTEND_SECONDS)
    await_that(lambda: available(driver) > 0, "the pool did not open again", 60)
    more = driver.create(name(), size=4 * MIB, thinPool=POOL)
    driver.delete_snapshot(snapshot)
    for each in (volume, more):
        driver.delete(each)


def test_the_metadata_of_a_pool_is_extended(
    driver: Driver, host: Host, name: Callable[[], str]
) -> None:
    host.exec("lvremove", "--yes", "vg0/filler").check()
    volume = driver.create(name(), size=SIZE * MIB, thinPool=POOL)
    shown = host.exec("lvs", "--noheadings", "-o", "metadata_percent", f"vg0/{POOL}").check()
    before = sizes(host)
    # As if it were full: the threshold is just below what is used.
    script = host.read(str(host._scripts / "storage")).decode().rstrip()
    script = script.replace("--thin-pool vg0/pool", "")  # which is to stay as it is
    _serve(host, f"{script} --extend-at {float(shown.text) * 0.9:.2f}\n")
    await_that(lambda: sizes(host)[1] > before[1], "the metadata was not extended", 60)
    assert sizes(host)[0] == before[0], "its data was extended, too"
    driver.delete(volume)
