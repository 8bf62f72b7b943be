"""What dies comes back without anyone noticing: tgtd, the roles, a storage host."""

import contextlib
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from tests.e2e.driver import Driver, Refused, Volume, checksum, insist, write_pattern
from tests.e2e.lab.host import Host
from tests.e2e.lab.lab import Lab
from tests.e2e.lab.remote import Command

TARGETS = "tgtadm --mode target --op show | grep -c ^Target; true"


def start_writer(host: Host, volume: Volume, seconds: int) -> Command:
    """Verified random writes to the volume, for so many seconds."""
    return host.start(
        "fio", "--name=verify", f"--filename={volume.data_path}", "--size=32M", "--direct=1",
        "--rw=randwrite", "--bs=4k", "--ioengine=libaio", "--iodepth=4", "--verify=crc32c",
        "--verify_backlog=64", "--time_based", f"--runtime={seconds}", "--output-format=json",
    )  # fmt: skip


def finish_writer(writer: Command, seconds: int) -> dict[str, Any]:
    """The report of fio's one job; fails where a write failed or was read back wrong."""
    result = writer.wait(seconds + 200).check()
    report: dict[str, Any] = json.loads(result.stdout)["jobs"][0]
    assert report["error"] == 0
    assert report["write"]["total_ios"] > 0
    return report


def storage_of(lab: Lab, volume: Volume) -> Host:
    """The storage host that a volume is on."""
    for host in lab.hosts.values():
        if host.identity.kind == "storage":
            listed = host.exec("lvs", "--noheadings", "-o", "lv_name", "vg0").check()
            if volume.id in listed.text.split():
                return host
    raise AssertionError(f"no storage host has {volume.id}")


def test_tgtd_killed_under_a_verifying_writer(
    lab: Lab, driver: Driver, name: Callable[[], str]
) -> None:
    volume = driver.create(name())
    driver.attach(volume, "compute-1")
    storage = storage_of(lab, volume)
    writer = start_writer(lab.host("compute-1"), volume, seconds=10)
    # An attacher that wants the volume for another node, at the worst of times.
    with ThreadPoolExecutor(1) as threads, contextlib.ExitStack() as stack:
        over = threading.Event()
        stack.callback(over.set)
        threads.submit(_ask_for, volume, driver, over)
        _kill_tgtd_twice(storage)
        report = finish_writer(writer, 10)
    assert report["write"]["clat_ns"]["max"] < 15e9
    driver.detach(volume, "compute-1")
    driver.delete(volume)


def _kill_tgtd_twice(storage: Host) -> None:
    shown = "until tgtadm --mode target --op show | grep -q ^Target; do sleep 0.1; done"
    for _ in range(2):
        storage.exec("pkill", "-KILL", "tgtd").check()
        storage.exec("sh", "-c", shown).check()


def _ask_for(volume: Volume, driver: Driver, over: threading.Event) -> None:
    while not over.is_set():
        with contextlib.suppress(Refused):
            driver.controller(
                "ControllerPublishVolume",
                volume_id=volume.id,
                node_id="compute-2",
                volume_capability=volume.capability,
            )


def test_the_storage_role_is_not_in_the_data_path(
    lab: Lab, driver: Driver, name: Callable[[], str]
) -> None:
    volume = driver.create(name())
    driver.attach(volume, "compute-1")
    storage = storage_of(lab, volume)
    before = storage.exec("pgrep", "-o", "tgtd").check().text
    writer = start_writer(lab.host("compute-1"), volume, seconds=6)
    storage.exec("pkill", "-KILL", "-f", "csi_lvm_iscsi storage").check()
    finish_writer(writer, 6)
    assert storage.exec("pgrep", "-o", "tgtd").check().text == before
    storage.wait_ready()
    driver.detach(volume, "compute-1")
    driver.delete(volume)


def test_a_power_cut_of_the_storage_host(lab: Lab, driver: Driver, name: Callable[[], str]) -> None:
    volume = driver.create(name())
    driver.attach(volume, "compute-1")
    write_pattern(lab.host("compute-1"), volume, "before the cut")
    before = checksum(lab.host("compute-1"), volume)
    storage = storage_of(lab, volume)
    writer = start_writer(lab.host("compute-1"), volume, seconds=10)
    storage.cut()
    storage.boot()
    finish_writer(writer, 10)
    insist(lambda: driver.controller("ListVolumes"), "UNAVAILABLE", seconds=10)
    write_pattern(lab.host("compute-1"), volume, "before the cut")
    assert checksum(lab.host("compute-1"), volume) == before
    driver.detach(volume, "compute-1")
    driver.delete(volume)


def test_a_power_cut_of_the_compute_host(lab: Lab, driver: Driver, name: Callable[[], str]) -> None:
    volume = driver.create(name(), block=False)
    driver.attach(volume, "compute-1")
    compute = lab.host("compute-1")
    write_pattern(compute, volume, "on the disk")
    written = checksum(compute, volume)
    compute.cut()
    compute.boot()
    # kubelet stages again after a boot; the publication is the same.
    driver.stage(volume, "compute-1")
    driver.publish_to_pod(volume, "compute-1")
    assert checksum(compute, volume) == written
    driver.detach(volume, "compute-1")
    driver.delete(volume)


def test_grants_lost_with_the_storage_hosts_var(
    lab: Lab, driver: Driver, name: Callable[[], str]
) -> None:
    """ListVolumes shows the volume as detached, external-attacher publishes it again."""
    volume = driver.create(name())
    driver.publish(volume, "compute-1")
    storage = storage_of(lab, volume)
    storage.exec("sh", "-c", "rm /var/lib/csi-lvm-iscsi/grants/*").check()
    storage.exec("pkill", "-KILL", "-f", "csi_lvm_iscsi storage").check()
    storage.wait_ready()
    (entry,) = driver.controller("ListVolumes")["entries"]
    assert "publishedNodeIds" not in entry["status"]
    driver.attach(volume, "compute-1")
    driver.detach(volume, "compute-1")
    driver.delete(volume)


def test_one_storage_host_down(lab: Lab, driver: Driver, name: Callable[[], str]) -> None:
    """Only what needs that host is unavailable; a list without its volumes would be a lie."""
    volumes = [driver.create(name()) for _ in range(2)]
    (lost,) = [each for each in volumes if storage_of(lab, each).name == "storage-2"]
    lab.host("storage-2").cut()
    volume = driver.create(name())
    driver.attach(volume, "compute-1")
    driver.detach(volume, "compute-1")
    driver.delete(volume)
    for call in (
        lambda: driver.controller("ListVolumes"),
        lambda: driver.delete(lost),
        lambda: driver.publish(lost, "compute-1"),
    ):
        with pytest.raises(Refused) as refused:
            call()
        assert refused.value.code == "UNAVAILABLE"
        assert "storage-2" in refused.value.message
    lab.host("storage-2").boot()
    for each in volumes:
        insist(partial(driver.delete, each), "UNAVAILABLE", seconds=10)


def test_a_hung_login_holds_up_its_own_volume_only(
    lab: Lab, driver: Driver, name: Callable[[], str]
) -> None:
    volumes = [driver.create(name()) for _ in range(2)]
    (hung,) = [each for each in volumes if storage_of(lab, each).name == "storage-1"]
    (other,) = [each for each in volumes if each != hung]
    driver.publish(hung, "compute-1")
    storage = lab.host("storage-1")
    storage.exec("pkill", "-STOP", "tgtd").check()
    with ThreadPoolExecutor(1) as threads:
        staging = threads.submit(driver.stage, hung, "compute-1")
        driver.attach(other, "compute-1")
        driver.detach(other, "compute-1")
        assert not staging.done(), "the login to a stopped tgtd did not hang"
        with pytest.raises(Refused) as refused:
            driver.stage(hung, "compute-1")
        assert refused.value.code == "ABORTED"
        storage.exec("pkill", "-CONT", "tgtd").check()
        staging.result(timeout=60)
    driver.unstage(hung, "compute-1")
    driver.unpublish(hung, "compute-1")
    for each in volumes:
        driver.delete(each)
