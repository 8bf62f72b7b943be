"""A volume plugged into a running virtual machine, as a user of KubeVirt does it by hand."""

from __future__ import annotations

from tests.e2e.kubernetes.manifests import DEVICE, claim, pod
from tests.e2e.kubernetes.user import User, until
from tests.e2e.kubevirt.machine import PATIENCE, VirtualMachine

SERIAL = "0123456789abcdef"
BLOCK = 4096
OTHER_NODE = "compute-2"


def write(user: User, name: str, text: str) -> None:
    """Write a text at the beginning of the volume that a pod has."""
    user.sh(name, f"echo '{text}' | dd of={DEVICE} bs={BLOCK} conv=sync,fsync 2>/dev/null")


def read(user: User, name: str, block: int) -> str:
    """The text in a block of the volume that a pod has."""
    text = f"dd if={DEVICE} bs={BLOCK} skip={block} count=1 2>/dev/null | head -n 1"
    return user.sh(name, text).rstrip()


def test_from_a_pod_to_a_virtual_machine_and_back(user: User, c2: VirtualMachine) -> None:
    user.apply(claim("disk", block=True), pod("writer", "disk", node=OTHER_NODE, block=True))
    user.await_pods("writer")
    write(user, "writer", "written by a pod")
    user.delete("pod/writer")

    c2.plug("disk", "disk", serial=SERIAL)
    assert c2.hear("block 1 ") == [
        f"sda appeared: 64 MiB, serial {SERIAL}",
        "sda begins with: written by a pod",
        "sda block 1 written: line 1 of the guest",
    ]
    c2.await_phase("disk", "Ready")
    c2.order("write sda 2 as it was told")
    assert c2.hear("block 2 ") == ["sda block 2 written: as it was told"]

    unplug(user, c2, "disk")

    user.apply(pod("reader", "disk", node=OTHER_NODE, block=True))
    user.await_pods("reader")
    assert read(user, "reader", 1) == "line 1 of the guest"
    assert read(user, "reader", 2) == "as it was told"
    user.delete("pod/reader", "pvc/disk")


def test_a_disk_grows_in_a_virtual_machine(user: User, c2: VirtualMachine) -> None:
    user.apply(claim("grows", block=True))
    c2.plug("grows", "grows", serial=SERIAL)
    assert c2.hear("block 1 ")[0] == f"sda appeared: 64 MiB, serial {SERIAL}"
    c2.await_phase("grows", "Ready")
    user.grow("grows", "96Mi")
    last = 96 * 2**20 // BLOCK - 1
    assert c2.hear("the end, by the guest") == [
        "sda grew: 96 MiB",
        f"sda block {last} written: the end, by the guest",
    ]
    unplug(user, c2, "grows")
    user.delete("pvc/grows")


def unplug(user: User, machine: VirtualMachine, volume: str) -> None:
    """Take a volume away, until the guest and KubeVirt have let go of it."""
    machine.unplug(volume)
    assert machine.hear("is gone") == ["sda is gone"]
    machine.await_phase(volume, "")
    until(lambda: not attachments(user), lambda: f"left: {attachments(user)}", PATIENCE)


def attachments(user: User) -> str:
    """KubeVirt's pods that bring plugged volumes to a node."""
    return user.kubectl("get", "pods", "--selector=kubevirt.io=hotplug-disk", "--output=name")
