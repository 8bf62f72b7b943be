"""The roles and tgtd in containers, as under kubelet: the main job, restarts, registration."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from csi_lvm_iscsi.storage.tgt.connections import SEND_BUFFER_BYTES
from tests.e2e.driver import MIB, Driver, checksum, insist, write_pattern
from tests.e2e.lab import csi, prerequisites
from tests.e2e.lab.containers import PODS, REGISTRATION, SOCKETS
from tests.e2e.lab.host import Host
from tests.e2e.lab.lab import DEFAULT_DIRECTORY, Lab
from tests.e2e.lab.services import CHECKOUT
from tests.e2e.lab.topology import METRICS_PORTS
from tests.e2e.test_recovery import finish_writer, start_writer
from tests.e2e.waiting import await_that

COMPUTE = "compute-1"
ROLES = {"storage": "storage-1", "controller": "storage-1", "node": COMPUTE}

# As kubelet does: it looks who is there, and says that it took it.
KUBELET = """
import sys, grpc
from csi_lvm_iscsi.rpc.pb import pluginregistration_pb2 as pb
from csi_lvm_iscsi.rpc.pb.pluginregistration_pb2_grpc import RegistrationStub
with grpc.insecure_channel("unix://" + sys.argv[1]) as channel:
    kubelet = RegistrationStub(channel)
    info = kubelet.GetInfo(pb.InfoRequest(), timeout=10)
    kubelet.NotifyRegistrationStatus(pb.RegistrationStatus(plugin_registered=True), timeout=10)
print(info.type, info.name, info.endpoint, *info.supported_versions)
"""


@pytest.fixture(scope="module")
def lab(worker_id: str) -> Iterator[Lab]:
    """2 storage hosts, as one copies from the other, and a compute host, all in containers."""
    prerequisites.ensure(print)
    place = os.environ.get("LAB_DIR") or f"{DEFAULT_DIRECTORY}-test"
    with Lab(Path(f"{place}-containers-{worker_id}")) as lab:
        lab.up(storage=2, compute=1, content="contained")
        yield lab


@pytest.fixture(scope="module")
def call(lab: Lab) -> Iterator[Callable[[str, str, str], str]]:
    """Calls from a process of its own: this one may be in another lab's network."""
    with ProcessPoolExecutor(
        4, multiprocessing.get_context("spawn"), initializer=lab.enter_network
    ) as processes:
        yield lambda *request: processes.submit(csi.call, *request).result()


def process(host: Host, role: str) -> int:
    """The process id of a role, as its host has it; 0 where there is none."""
    pattern = f"^[^ ]*python[^ ]* -m csi_lvm_iscsi {role} "
    return int(host.exec("pgrep", "--full", pattern).text or 0)


def is_another(host: Host, role: str, pid: int) -> bool:
    """Whether the role runs, and is not this process any more."""
    return process(host, role) not in (0, pid)


def end_roles(lab: Lab, signal: str, *roles: str) -> None:
    """Send roles a signal, and wait until those that come after are ready."""
    ended = {role: process(lab.host(ROLES[role]), role) for role in roles}
    for role, pid in ended.items():
        lab.host(ROLES[role]).exec("kill", f"-{signal}", str(pid)).check()
    for role, pid in ended.items():
        await_that(partial(is_another, lab.host(ROLES[role]), role, pid), f"{role} did not end")
    for host in lab.hosts.values():
        host.wait_ready()


def python(host: Host, role: str, *arguments: str) -> str:
    """Run Python in the container of a role, as `kubectl exec` would."""
    pid = str(process(host, role))
    enter = ("nsenter", f"--target={pid}", "--mount", "--ipc", "--pid", "--")
    environment = ("env", f"PYTHONPATH={CHECKOUT}", sys.executable)
    result = host.exec(*enter, *environment, *arguments)
    assert result.stdout, result.stderr.decode()
    return result.text


@pytest.mark.parametrize(("role", "host"), ROLES.items())
def test_a_container_has_nothing_of_the_host_but_what_is_mounted(
    lab: Lab, role: str, host: str
) -> None:
    script = (
        "import os, shutil; print(shutil.which('lvm'), shutil.which('iscsiadm'), "
        "os.listdir('/etc/iscsi'), os.access('/run', os.W_OK), os.access('/etc', os.W_OK))"
    )
    assert python(lab.host(host), role, "-c", script) == "None None [] False False"


def test_the_main_job_over_restarts_of_all(
    lab: Lab, driver: Driver, name: Callable[[], str]
) -> None:
    """Raw block, ext4 and XFS: made, written, kept while tgtd is killed and all roles are stopped,
    grown, and taken away by the roles that came after."""
    compute, storage = lab.host(COMPUTE), lab.host("storage-1")
    volumes = [
        driver.create(name(), block=not kind, fs_type=kind, size=320 * MIB, storageHost="storage-1")
        for kind in ("", "ext4", "xfs")
    ]
    # mount(8) notes this option in /run, where it can be written.
    volumes[1] = dataclasses.replace(volumes[1], mount_flags=("_netdev",))
    for volume in volumes:
        driver.attach(volume, COMPUTE)
        write_pattern(compute, volume, f"written in a container as {volume.fs_type}")
    raw, *mounted = volumes
    written = [checksum(compute, volume) for volume in mounted]
    writer = start_writer(compute, raw, seconds=6)
    before = storage.exec("pgrep", "-x", "tgtd").check().text
    storage.exec("pkill", "-KILL", "-x", "tgtd").check()
    # The controller is process 1 of its own: no signal would end that by default.
    end_roles(lab, "TERM", *ROLES)
    for role, where in ROLES.items():
        ended = [line for line in lab.host(where).log(role).splitlines() if line[:5] == "lab: "]
        assert ended == [f"lab: {role} ended with status 0"]
        assert health(lab.host(where), role) == "200 ok"
    finish_writer(writer, 6)
    assert storage.exec("pgrep", "-x", "tgtd").check().text != before
    assert "version of tgtd unknown" not in storage.log("storage")
    assert "connections cannot be set up" not in storage.log("storage")
    listening = storage.exec("ss", "-tlnm", "sport = :3260").check().text
    assert f"tb{2 * SEND_BUFFER_BYTES}," in listening, listening

    for volume in volumes:
        insist(partial(driver.stage, volume, COMPUTE), "UNAVAILABLE")
        driver.publish_to_pod(volume, COMPUTE)
    for volume, sum_ in zip(mounted, written, strict=True):
        insist(partial(driver.grow, volume, COMPUTE, 384 * MIB), "UNAVAILABLE")
        assert checksum(compute, volume) == sum_
    for volume in volumes:
        driver.detach(volume, COMPUTE)
        driver.delete(volume)


def test_a_copy_from_another_storage_host(driver: Driver, name: Callable[[], str]) -> None:
    """The storage role is an initiator, with the host's iscsiadm and its records."""
    source = driver.create(name(), storageHost="storage-1", size=8 * MIB)
    copy = driver.create(name(), source=source.id, storageHost="storage-2", size=8 * MIB)
    assert copy.id.split("-")[0] != source.id.split("-")[0]
    for volume in (copy, source):
        driver.delete(volume)


def test_an_lvm_at_work_outlives_its_container(
    lab: Lab, driver: Driver, name: Callable[[], str]
) -> None:
    """And a role that waits for it is healthy."""
    storage, wanted = lab.host("storage-1"), name()
    lock = storage.start("flock", "/run/lock/lvm/V_vg0", "sleep", "60")
    with ThreadPoolExecutor(1) as threads:
        creating = threads.submit(
            insist, lambda: driver.create(wanted, storageHost="storage-1"), "UNAVAILABLE", "ABORTED"
        )
        try:
            await_that(lambda: bool(lvcreates(storage)), "no lvcreate")
            before = lvcreates(storage)
            assert storage.read(f"/proc/{before}/cgroup").decode().strip() == "0::/"
            assert health(storage, "storage") == "200 ok"
            old = process(storage, "storage")
            storage.exec("kill", "-KILL", str(old)).check()
            # What is left in the container's cgroup is killed before the next role begins.
            await_that(partial(is_another, storage, "storage", old), "no role came back")
            await_that(lambda: health(storage, "storage") == "200 ok", "it waits, and is not well")
            assert lvcreates(storage) == before
        finally:
            lock.kill()
        volume = creating.result(120)
    listed = storage.exec("lvs", "--noheadings", "-o", "lv_name", "vg0").check().text
    assert listed.count(wanted) == 1
    driver.delete(volume)


def lvcreates(host: Host) -> str:
    """The process ids of the lvcreates at work."""
    return host.exec("pgrep", "--full", "^lvm lvcreate ").text


def health(host: Host, role: str) -> str:
    """What /healthz answers; empty where nobody does."""
    script = (
        "import sys, urllib.request as r; a = r.urlopen(sys.argv[1], timeout=10); "
        "print(a.status, a.read().decode())"
    )
    url = f"http://{host.identity.management_address}:{METRICS_PORTS[role]}/healthz"
    return host.exec(sys.executable, "-c", script, url).text


def test_registration_with_kubelet(lab: Lab) -> None:
    """After the role was killed, and left its socket there."""
    end_roles(lab, "KILL", "node")
    host = lab.host(COMPUTE)
    listed = host.exec("ls", REGISTRATION).check().text
    assert listed == "csi-lvm-iscsi.github.io-reg.sock"
    script = ("env", f"PYTHONPATH={CHECKOUT}", sys.executable, "-c", KUBELET)
    said = host.exec(*script, f"{REGISTRATION}/{listed}").check().text
    assert said == f"CSIPlugin csi-lvm-iscsi.github.io {SOCKETS}/node.sock 1.0.0"
    assert "registered with kubelet" in host.log("node")


@pytest.mark.parametrize("role", ["storage", "node"])
def test_the_doctor_in_a_container_sees_the_host(lab: Lab, role: str) -> None:
    said = python(
        lab.host(ROLES[role]), role, "-m", "csi_lvm_iscsi", "doctor", role, "--output", "json"
    )
    findings = json.loads(said)["findings"]
    assert [each for each in findings if each["level"] == "error"] == []
    if role == "storage":
        (tgtd,) = [each for each in findings if each["check"] == "tgtd"]
        assert "version 1." in tgtd["found"]


def test_nothing_is_left_mounted_on_the_host_but_what_pods_use(lab: Lab) -> None:
    host = lab.host(COMPUTE)
    mounted = host.read("/proc/1/mountinfo").decode()
    assert "/run/lab/containers/node" not in mounted
    assert f" {PODS}/" not in mounted
