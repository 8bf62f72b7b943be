"""A claim attached to a running virtual machine by a VolumeHotplug, as its user sees it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import PurePath
from statistics import median

import pytest

from tests.e2e.kubernetes.manifests import DEVICE, claim, pod, storage_class
from tests.e2e.kubernetes.user import User, until
from tests.e2e.kubevirt.hotplugs import attached, detach, message, reason
from tests.e2e.kubevirt.machine import PATIENCE, VirtualMachine
from tests.e2e.kubevirt.manifests import volume_hotplug
from tests.e2e.kubevirt.test_hotplug import OTHER_NODE, SERIAL, attachments, read, unplug, write
from tests.e2e.kubevirt.watching import watched
from tests.e2e.kubevirt.workstation import lvmiscsi
from tests.e2e.lab.kubevirt import objects, release
from tests.e2e.lab.kubevirt.cluster import KubeVirtCluster

QUICK_SECONDS = 1.0
WAIT = ("--wait", f"--timeout={PATIENCE}")


@pytest.fixture
def declarative(cluster: KubeVirtCluster) -> Iterator[None]:
    """KubeVirt in its newer way."""
    release.set_gates(cluster, ["DeclarativeHotplugVolumes", "ExpandDisks"])
    yield
    release.set_gates(cluster, objects.GATES)


def test_attached_with_kubectl_and_detached(user: User, c2: VirtualMachine) -> None:
    """kubectl -> VolumeHotplug -> KubeVirt -> attachment pod -> kubelet -> this driver -> guest."""
    user.apply(claim("data", block=True), pod("writer", "data", node=OTHER_NODE, block=True))
    user.await_pods("writer")
    write(user, "writer", "written by a pod")
    user.delete("pod/writer")

    said = lvmiscsi(user, "attach", "data", "--vm", "c2", *WAIT)
    status = user.get("volumehotplug/c2-data")["status"]
    assert (status["phase"], status["node"]) == ("Attached", "compute-1")
    assert status["device"] == c2.target("data")
    assert c2.hear("block 1 ") == [
        f"sda appeared: 64 MiB, serial {status['serial']}",
        "sda begins with: written by a pod",
        "sda block 1 written: line 1 of the guest",
    ]
    path = f"/dev/disk/by-id/scsi-0QEMU_QEMU_HARDDISK_{status['serial']}"
    assert path in said
    c2.order("identify sda")
    assert c2.hear("sda is ") == [f"sda is {PurePath(path).name}"]
    (row,) = lvmiscsi(user, "attachments", "data", "--no-headers").splitlines()
    assert {"data", "storage-1", "compute-1", "vm/c2"} <= set(row.split()), row

    user.grow("data", "96Mi")
    assert c2.hear("the end, by the guest")[0] == "sda grew: 96 MiB"

    lvmiscsi(user, "detach", "data", "--vm", "c2", *WAIT)
    assert c2.hear("is gone") == ["sda is gone"]
    until(lambda: not attachments(user), lambda: f"left: {attachments(user)}", PATIENCE)
    user.apply(pod("reader", "data", node=OTHER_NODE, block=True))
    user.await_pods("reader")
    assert read(user, "reader", 1) == "line 1 of the guest"
    user.delete("pod/reader", "pvc/data")


def test_a_claim_in_use_elsewhere_says_by_whom_and_is_attached_when_it_is_free(
    user: User, c2: VirtualMachine
) -> None:
    user.apply(claim("used", block=True), pod("holder", "used", node=OTHER_NODE, block=True))
    user.await_pods("holder")
    lvmiscsi(user, "attach", "used", "--vm", "c2")
    until(lambda: "holder" in message(user, "c2-used"), lambda: message(user, "c2-used"))
    assert OTHER_NODE in message(user, "c2-used")
    assert user.sh("holder", f"blockdev --getsize64 {DEVICE}"), "the pod has lost its volume"

    user.delete("pod/holder")
    attached(user, "c2-used")
    c2.hear("block 1 ")
    detach(user, c2, "used")


def test_why_it_is_not_attached_is_quoted(
    cluster: KubeVirtCluster, user: User, c2: VirtualMachine
) -> None:
    user.apply(claim("late", block=True))
    user.await_bound("late")
    host = cluster.host("storage-1")
    host.partition()
    try:
        user.apply(volume_hotplug("c2-late", "late", "c2"))
        until(lambda: host.name in message(user, "c2-late"), lambda: message(user, "c2-late"))
    finally:
        host.heal()
    attached(user, "c2-late")
    c2.hear("block 1 ")
    detach(user, c2, "late")


def test_what_was_plugged_by_hand_is_recognised_and_left(user: User, c2: VirtualMachine) -> None:
    user.apply(claim("hand", block=True))
    c2.plug("hand", "hand", serial=SERIAL)
    c2.hear("block 1 ")
    c2.await_phase("hand", "Ready")
    user.apply(volume_hotplug("c2-hand", "hand", "c2"))
    attached(user, "c2-hand")
    assert reason(user, "c2-hand") == "AttachedByOthers"
    user.delete("vhp/c2-hand")
    c2.order("write sda 2 still there")
    assert c2.hear("block 2 ") == ["sda block 2 written: still there"]
    unplug(user, c2, "hand")
    user.delete("pvc/hand")


def test_it_is_done_within_a_second(user: User, c2: VirtualMachine) -> None:
    """As usual: of three, one may meet with a moment in which its host has all else to do."""
    times = [_seconds_of_attach(user, c2, f"quick-{number}") for number in range(3)]
    asked, told = (median(each) for each in zip(*times, strict=True))
    print(f"\nVolumeHotplug -> asked of KubeVirt {asked:.2f} s; its Ready -> ours {told:.2f} s")
    assert asked < QUICK_SECONDS, times
    assert told < QUICK_SECONDS, times


def _seconds_of_attach(user: User, c2: VirtualMachine, name: str) -> tuple[float, float]:
    """From the VolumeHotplug to the machine's change, and from KubeVirt's Ready to ours."""
    user.apply(claim(name, block=True))
    user.await_bound(name)
    requests, statuses = "{.status.volumeRequests}", "{.status.volumeStatus}"
    with (
        watched(user, "vm/c2", requests) as machine,
        watched(user, "vmi/c2", statuses) as instance,
        watched(user, "vhp", "{.status.phase} {.status.conditions[*].reason}") as hotplug,
    ):
        until(lambda: machine.seen and instance.seen, lambda: "no watch")
        user.apply(volume_hotplug(f"c2-{name}", name, "c2"))
        asked = machine.first(lambda text: f'"{name}"' in text) - hotplug.first(bool)
        ready = instance.first(lambda text: _is_ready(text, name))
        told = hotplug.first(lambda text: text.startswith("Attached")) - ready
    c2.hear("block 1 ")
    detach(user, c2, name)
    return asked, told


def _is_ready(statuses: str, claim_name: str) -> bool:
    """By the status of an instance's volumes, as JSON."""
    return any(
        each.get("phase") == "Ready" and claim_name in json.dumps(each)
        for each in json.loads(statuses or "[]")
    )


def test_a_virtio_disk(user: User, c2: VirtualMachine) -> None:
    user.apply(claim("virtio", block=True))
    said = lvmiscsi(user, "attach", "virtio", "--vm", "c2", "--bus", "virtio", *WAIT)
    serial = user.get("volumehotplug/c2-virtio")["status"]["serial"]
    assert c2.hear("block 1 ")[0] == f"vda appeared: 64 MiB, serial {serial}"
    c2.order("identify vda")
    assert c2.hear("vda is ") == [f"vda is virtio-{serial}"]
    assert f"/dev/disk/by-id/virtio-{serial}" in said
    detach(user, c2, "virtio", disk="vda")


@pytest.mark.usefixtures("declarative")
def test_where_kubevirt_acts_on_edits_of_the_machine(user: User, c2: VirtualMachine) -> None:
    user.apply(claim("edited", block=True))
    lvmiscsi(user, "attach", "edited", "--vm", "c2", *WAIT)
    assert c2.hear("block 1 ")[0].startswith("sda appeared: 64 MiB")
    volumes = user.get("vm/c2")["spec"]["template"]["spec"]["volumes"]
    claims = [each.get("persistentVolumeClaim", {}).get("claimName") for each in volumes]
    assert claims.count("edited") == 1
    assert "volumeRequests" not in user.get("vm/c2")["status"], "a subresource was asked"
    lvmiscsi(user, "detach", "edited", "--vm", "c2", *WAIT)
    assert c2.hear("is gone") == ["sda is gone"]
    user.delete("pvc/edited")


def test_a_claim_that_waits_for_its_first_user_is_made_for_the_machine(
    user: User, c2: VirtualMachine
) -> None:
    late = storage_class(f"late-{user.namespace}", {"provisioner": "thin"}, late=True)
    user.apply(late, claim("unused", block=True, storage_class=late["metadata"]["name"]))
    lvmiscsi(user, "attach", "unused", "--vm", "c2", *WAIT)
    assert c2.hear("block 1 ")[0].startswith("sda appeared: 64 MiB")
    annotations = user.get("pvc/unused")["metadata"]["annotations"]
    assert annotations["volume.kubernetes.io/selected-node"] == "compute-1"
    detach(user, c2, "unused")
    user.delete(f"storageclass/{late['metadata']['name']}")


def test_doctor_asks_all_roles_and_finds_that_the_hosts_are_clones(user: User) -> None:
    """They are: each lab host runs on the builder's own file system."""
    said = lvmiscsi(user, "doctor", status=1)
    (error,) = [line.split() for line in said.splitlines() if line.startswith("  error")]
    assert error[1] == "machineId"
    for role in ("storage-1 (role storage)", *(f"compute-{n} (role node)" for n in (1, 2))):
        (line,) = [line for line in said.splitlines() if line.startswith(f"{role}: ")]
        assert line.endswith(" 0 error"), said
