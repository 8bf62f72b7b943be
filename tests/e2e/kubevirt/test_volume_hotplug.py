"""A claim attached to a running virtual machine by a VolumeHotplug, as its user sees it."""

from __future__ import annotations

from tests.e2e.kubernetes.manifests import DEVICE, claim, pod
from tests.e2e.kubernetes.user import User, until
from tests.e2e.kubevirt.machine import PATIENCE, VirtualMachine
from tests.e2e.kubevirt.test_hotplug import OTHER_NODE, attachments, read, write
from tests.e2e.kubevirt.workstation import lvmiscsi


def test_attached_with_kubectl_and_detached(user: User, c2: VirtualMachine) -> None:
    """kubectl -> VolumeHotplug -> KubeVirt -> attachment pod -> kubelet -> this driver -> guest."""
    user.apply(claim("data", block=True), pod("writer", "data", node=OTHER_NODE, block=True))
    user.await_pods("writer")
    write(user, "writer", "written by a pod")
    user.delete("pod/writer")

    said = lvmiscsi(user, "attach", "data", "--vm", "c2", "--wait", f"--timeout={PATIENCE}")
    status = user.get("volumehotplug/c2-data")["status"]
    assert f"/dev/disk/by-id/scsi-0QEMU_QEMU_HARDDISK_{status['serial']}" in said
    assert (status["phase"], status["device"], status["node"]) == ("Attached", "sda", "compute-1")
    assert c2.hear("block 1 ") == [
        f"sda appeared: 64 MiB, serial {status['serial']}",
        "sda begins with: written by a pod",
        "sda block 1 written: line 1 of the guest",
    ]
    (row,) = lvmiscsi(user, "attachments", "data", "--no-headers").splitlines()
    assert {"data", "storage-1", "compute-1"} <= set(row.split()), row

    lvmiscsi(user, "detach", "data", "--vm", "c2", "--wait", f"--timeout={PATIENCE}")
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
    message = until(lambda: _message(user, "c2-used"), lambda: "no condition", PATIENCE)
    assert OTHER_NODE in message
    assert "holder" in message
    assert user.sh("holder", f"blockdev --getsize64 {DEVICE}"), "the pod has lost its volume"

    user.delete("pod/holder")
    user.wait("jsonpath={.status.phase}=Attached", "volumehotplug/c2-used", seconds=PATIENCE)
    c2.hear("block 1 ")
    user.delete("volumehotplug/c2-used")
    assert c2.hear("is gone") == ["sda is gone"]
    user.delete("pvc/used")


def _message(user: User, name: str) -> str:
    conditions = user.get(f"volumehotplug/{name}").get("status", {}).get("conditions", [])
    return next((each["message"] for each in conditions if each["type"] == "Attached"), "")
