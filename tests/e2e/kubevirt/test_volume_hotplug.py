"""A claim attached to a running virtual machine by a VolumeHotplug, as its user sees it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath

import pytest

from tests.e2e.kubernetes.manifests import DEVICE, claim, pod
from tests.e2e.kubernetes.user import User, until
from tests.e2e.kubevirt.machine import PATIENCE, VirtualMachine
from tests.e2e.kubevirt.manifests import volume_hotplug
from tests.e2e.kubevirt.test_hotplug import OTHER_NODE, attachments, read, write
from tests.e2e.kubevirt.workstation import lvmiscsi
from tests.e2e.lab.kubevirt import objects, release
from tests.e2e.lab.kubevirt.cluster import KubeVirtCluster

WAIT = ("--wait", f"--timeout={PATIENCE}")
LINES = 100
"""So many take the guest longer than tgtd takes to be found and killed."""


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
    assert (status["phase"], status["device"], status["node"]) == ("Attached", "sda", "compute-1")
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


def test_a_virtio_disk(user: User, c2: VirtualMachine) -> None:
    user.apply(claim("virtio", block=True))
    said = lvmiscsi(user, "attach", "virtio", "--vm", "c2", "--bus", "virtio", *WAIT)
    serial = user.get("volumehotplug/c2-virtio")["status"]["serial"]
    assert c2.hear("block 1 ")[0] == f"vda appeared: 64 MiB, serial {serial}"
    c2.order("identify vda")
    assert c2.hear("vda is ") == [f"vda is virtio-{serial}"]
    assert f"/dev/disk/by-id/virtio-{serial}" in said
    detach(user, c2, "virtio", disk="vda")


def test_tgtd_killed_while_the_guest_writes(
    cluster: KubeVirtCluster, user: User, c2: VirtualMachine
) -> None:
    """The guest notices nothing; KubeVirt would pause it with the first error."""
    user.apply(claim("lasts", block=True), volume_hotplug("c2-lasts", "lasts", "c2"))
    attached(user, "c2-lasts")
    c2.hear("block 1 ")
    c2.order(f"lines sda {LINES}")
    c2.hear("block 5 ")
    cluster.host("storage-1").exec("pkill", "-KILL", "tgtd").check()
    assert not any(f"block {LINES} " in line for line in c2.words()[-5:]), "tgtd died too late"
    expected = [f"sda block {n} written: line {n} of the guest" for n in range(6, LINES + 1)]
    assert c2.hear(f"block {LINES} ") == expected
    assert "I/O error" not in c2.log()
    conditions = [each["type"] for each in user.get("vmi/c2")["status"]["conditions"]]
    assert "Paused" not in conditions
    detach(user, c2, "lasts")


def test_the_operator_is_killed_on_both_ways(
    cluster: KubeVirtCluster, user: User, c2: VirtualMachine
) -> None:
    user.apply(claim("once", block=True), volume_hotplug("c2-once", "once", "c2"))
    kill_operator(cluster)
    attached(user, "c2-once")
    assert c2.hear("block 1 ")[0].startswith("sda appeared: 64 MiB")
    user.kubectl("delete", "vhp/c2-once", "--wait=false")
    kill_operator(cluster)
    user.wait("delete", "vhp/c2-once", seconds=PATIENCE)
    assert c2.hear("is gone") == ["sda is gone"], "it was plugged in more than once"
    user.delete("pvc/once")


def test_two_nodes_have_a_volume_each_by_its_own_credentials(
    cluster: KubeVirtCluster, user: User, c2: VirtualMachine
) -> None:
    """As a live migration needs it, and access is withdrawn from the one that is done."""
    user.apply(
        claim("shared", block=True, mode="ReadWriteMany"),
        volume_hotplug("c2-shared", "shared", "c2"),
    )
    attached(user, "c2-shared")
    c2.hear("block 1 ")
    user.apply(pod("second", "shared", node=OTHER_NODE, block=True))
    user.await_pods("second")
    found = nonces(user, "shared")
    assert set(found) == {"compute-1", OTHER_NODE}
    assert len(set(found.values())) == 2, "the nodes share their credentials"
    assert len(targets(cluster, user.volume_id("shared"))) == 2
    assert read(user, "second", 1) == "line 1 of the guest"
    write(user, "second", "of the second node")
    c2.order("read sda 0")
    assert c2.hear("reads: ") == ["sda block 0 reads: of the second node"]

    user.delete("pod/second")
    volume = user.volume_id("shared")
    until(lambda: len(targets(cluster, volume)) == 1, lambda: f"{targets(cluster, volume)}")
    assert nonces(user, "shared") == {"compute-1": found["compute-1"]}
    c2.order("write sda 2 still there")
    assert c2.hear("block 2 ") == ["sda block 2 written: still there"]
    detach(user, c2, "shared")


def test_a_machine_moves_to_another_node_with_it(
    cluster: KubeVirtCluster, user: User, c2: VirtualMachine
) -> None:
    user.apply(
        claim("moves", block=True, mode="ReadWriteMany"), volume_hotplug("c2-moves", "moves", "c2")
    )
    attached(user, "c2-moves")
    c2.hear("block 1 ")
    before = nonces(user, "moves")
    assert c2.migrate() == OTHER_NODE
    user.wait(f"jsonpath={{.status.node}}={OTHER_NODE}", "vhp/c2-moves", seconds=PATIENCE)
    volume = user.volume_id("moves")
    until(lambda: len(targets(cluster, volume)) == 1, lambda: f"{targets(cluster, volume)}")
    assert set(nonces(user, "moves")) == {OTHER_NODE}
    assert nonces(user, "moves") != before
    c2.order("write sda 2 after the move")
    assert c2.hear("block 2 ") == ["sda block 2 written: after the move"]
    detach(user, c2, "moves")


def test_a_machine_that_was_switched_off_and_on_has_it_again(
    user: User, c2: VirtualMachine
) -> None:
    user.apply(claim("again", block=True), volume_hotplug("c2-again", "again", "c2"))
    attached(user, "c2-again")
    c2.hear("block 1 ")
    c2.order("write sda 2 before the restart")
    c2.hear("block 2 ")
    c2.restart()
    serial = user.get("vhp/c2-again")["status"]["serial"]
    assert c2.hear("block 1 ")[0] == f"sda appeared: 64 MiB, serial {serial}"
    c2.order("read sda 2")
    assert c2.hear("reads: ") == ["sda block 2 reads: before the restart"]
    attached(user, "c2-again")
    detach(user, c2, "again")


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


def test_doctor_asks_all_roles_and_finds_that_the_hosts_are_clones(user: User) -> None:
    """They are: each lab host runs on the builder's own file system."""
    said = lvmiscsi(user, "doctor", status=1)
    (error,) = [line.split() for line in said.splitlines() if line.startswith("  error")]
    assert error[1] == "machineId"
    for role in ("storage-1 (role storage)", *(f"compute-{n} (role node)" for n in (1, 2))):
        (line,) = [line for line in said.splitlines() if line.startswith(f"{role}: ")]
        assert line.endswith(" 0 error"), said


def attached(user: User, name: str) -> None:
    user.wait("condition=Attached", f"vhp/{name}", seconds=PATIENCE)


def detach(user: User, machine: VirtualMachine, claim_name: str, disk: str = "sda") -> None:
    """Until the guest has lost the disk; the claim goes, too."""
    user.delete(f"vhp/{machine.name}-{claim_name}", seconds=PATIENCE)
    assert machine.hear("is gone")[-1] == f"{disk} is gone"
    user.delete(f"pvc/{claim_name}")


def nonces(user: User, claim_name: str) -> dict[str, str]:
    """What the credentials of each node are made of that the claim's volume is attached to."""
    volume = user.get(f"pvc/{claim_name}")["spec"]["volumeName"]
    return {
        each["spec"]["nodeName"]: each["status"]["attachmentMetadata"]["nonce"]
        for each in user.get("volumeattachments")["items"]
        if each["spec"]["source"]["persistentVolumeName"] == volume
    }


def targets(cluster: KubeVirtCluster, volume_id: str) -> list[str]:
    """The targets of a volume: one for each node that may have it."""
    shown = "TGT_IPC_SOCKET=/run/csi-lvm-iscsi/tgtd/socket tgtadm --mode target --op show"
    lines = cluster.host("storage-1").exec("sh", "-c", shown).check().text.splitlines()
    return [line for line in lines if line.startswith("Target ") and volume_id in line]


def kill_operator(cluster: KubeVirtCluster) -> None:
    """Kubelet starts it again."""
    killed = [
        host.exec("pkill", "-KILL", "-f", "csi-lvm-iscsi operator").status == 0
        for host in cluster.hosts.values()
    ]
    assert any(killed), "there was no operator"


def message(user: User, name: str) -> str:
    """That of the condition Attached."""
    conditions = user.get(f"volumehotplug/{name}").get("status", {}).get("conditions", [])
    return next((each["message"] for each in conditions if each["type"] == "Attached"), "")
