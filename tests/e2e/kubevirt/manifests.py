"""Objects of KubeVirt, as a user would write them."""

from __future__ import annotations

from typing import Any

from csi_lvm_iscsi.operator.hotplug import objects as hotplugs
from tests.e2e.lab.kubevirt import bootable

Object = dict[str, Any]
MEMORY = "192Mi"

PROCESSOR = "Nehalem"
"""One that the node labeller finds QEMU able to emulate, and KubeVirt does not call obsolete."""


def virtual_machine(name: str, *, node: str = "") -> Object:
    """A VirtualMachine that is always to run, without network: the lab's guest, from its disc.

    `node`: where it is to start if it can.
    """
    devices = {
        "disks": [{"name": "disc", "bootOrder": 1, "cdrom": {"bus": "sata"}}],
        "autoattachPodInterface": False,
        "autoattachMemBalloon": False,
        "autoattachGraphicsDevice": False,
    }
    machine = {
        "terminationGracePeriodSeconds": 5,
        "affinity": _preferring(node) if node else {},
        "domain": {
            "cpu": {"cores": 1, "model": PROCESSOR},
            "memory": {"guest": MEMORY},
            "devices": devices,
        },
        "volumes": [{"name": "disc", "containerDisk": {"image": bootable.NAME}}],
    }
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": name},
        "spec": {"runStrategy": "Always", "template": {"spec": machine}},
    }


def _preferring(node: str) -> Object:
    """Bound to its node it could not be migrated."""
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    term = {"weight": 100, "preference": {"matchExpressions": [here]}}
    return {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [term]}}


def migration(name: str, machine: str) -> Object:
    """That a virtual machine is to move to another node as it runs."""
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstanceMigration",
        "metadata": {"name": name},
        "spec": {"vmiName": machine},
    }


def volume_hotplug(name: str, claim_name: str, machine: str) -> Object:
    """That a claim is attached to a virtual machine."""
    return {
        "apiVersion": hotplugs.API_VERSION,
        "kind": hotplugs.KIND,
        "metadata": {"name": name},
        "spec": {"claimName": claim_name, "virtualMachineName": machine},
    }
