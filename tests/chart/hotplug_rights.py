"""Brings the operator to use each right that it has for VolumeHotplugs."""

from __future__ import annotations

from typing import Any

from csi_lvm_iscsi.model.names import DRIVER
from csi_lvm_iscsi.operator.hotplug.objects import SELECTED_NODE, serial_of
from tests.chart import cluster
from tests.chart.virtual_machines import (
    CLAIMS,
    HOTPLUGS,
    KUBEVIRTS,
    NODE_PATH,
    NODES,
    Admin,
    Machines,
    kubevirt_in,
    make_claim,
    make_hotplug,
    make_unused_claim,
    scene,
    until,
)
from tests.unit.operator_hotplug.kubevirt import NODE, apply_request
from tests.unit.operator_hotplug.users import ATTACHMENTS, CLASSES

_MACHINE = "rights"


async def use(installed: cluster.Cluster, admin: Admin) -> None:
    """All of them: where machines are edited, and where subresources are called, which nobody
    serves here."""
    async with kubevirt_in(installed, admin), scene(admin, (_MACHINE,)) as machines:
        await _of_a_guest_that_holds(admin, machines)
        await _of_a_claim_in_use(admin, machines)
        await _of_a_claim_without_a_volume(admin, machines)
        gates = {"configuration": {"developerConfiguration": {"featureGates": ["HotplugVolumes"]}}}
        await admin.merge(f"{KUBEVIRTS}/kubevirt", {"spec": gates})
        machines.virt.is_declarative = False
        await _of_subresources(admin, machines)


async def _of_a_guest_that_holds(admin: Admin, machines: Machines) -> None:
    await _make(admin, "held")
    await until(lambda: machines.reason("held") == "Attached")
    machines.virt.held = {"held"}
    await admin.delete(NODE_PATH)
    await admin.delete(f"{HOTPLUGS}/held")
    # That the node is gone is asked for after some seconds: then it ends.
    await until(lambda: "default/held" not in machines.hotplugs.objects)
    machines.virt.held = set()
    await admin.create(NODES, {"metadata": {"name": NODE}})


async def _of_a_claim_in_use(admin: Admin, machines: Machines) -> None:
    await make_claim(admin, "used")
    source = {"persistentVolumeName": "pv-used"}
    spec = {"attacher": "csi-lvm-iscsi.github.io", "nodeName": "node-9", "source": source}
    await admin.create(ATTACHMENTS, {"metadata": {"name": "used"}, "spec": spec})
    pod = {
        "metadata": {"name": "user"},
        "spec": {
            "nodeName": "node-9",
            "containers": [{"name": "user", "image": "user"}],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "used"}}],
        },
    }
    pods = "/api/v1/namespaces/default/pods"
    await admin.create(pods, pod)
    await make_hotplug(admin, "used", _MACHINE)
    await until(lambda: "user" in machines.message("used"))
    assert machines.reason("used") == "ClaimInUse"
    await admin.delete(f"{HOTPLUGS}/used")
    await admin.delete(f"{ATTACHMENTS}/used")
    await admin.delete(f"{pods}/user")


async def _of_a_claim_without_a_volume(admin: Admin, machines: Machines) -> None:
    late = {
        "metadata": {"name": "late"},
        "provisioner": DRIVER,
        "volumeBindingMode": "WaitForFirstConsumer",
    }
    await admin.create(CLASSES, late)
    await make_unused_claim(admin, "unused", "late")
    await make_hotplug(admin, "unused", _MACHINE)
    await until(lambda: machines.message("unused").endswith(f"made for node {NODE}."))
    claim = await admin.get(f"{CLAIMS}/unused")
    assert claim["metadata"]["annotations"][SELECTED_NODE] == NODE
    await admin.delete(f"{HOTPLUGS}/unused")
    await admin.delete(f"{CLAIMS}/unused")
    await admin.delete(f"{CLASSES}/late")


async def _of_subresources(admin: Admin, machines: Machines) -> None:
    await _make(admin, "asked")
    await until(lambda: machines.reason("asked") == "Refused")
    await _edit(admin, machines, "virtualmachines", "asked")
    await until(lambda: machines.reason("asked") == "RestartRequired")
    await _end_by_force(admin, machines, "asked")

    await _edit(admin, machines, "virtualmachineinstances", "lost")
    await _make(admin, "lost")
    await until(lambda: machines.reason("lost") == "Refused")
    await _end_by_force(admin, machines, "lost")


async def _end_by_force(admin: Admin, machines: Machines, claim: str) -> None:
    await admin.delete(f"{HOTPLUGS}/{claim}")
    await until(lambda: machines.status(claim).get("phase") == "Detaching")
    await admin.merge(f"{HOTPLUGS}/{claim}", {"spec": {"force": True}})
    await until(lambda: f"default/{claim}" not in machines.hotplugs.objects)


async def _make(admin: Admin, claim: str) -> None:
    await make_claim(admin, claim)
    await make_hotplug(admin, claim, _MACHINE)


async def _edit(admin: Admin, machines: Machines, plural: str, claim: str) -> None:
    """Put our disk into a machine, or into its instance alone."""
    path = machines.virt.path(plural, _MACHINE)
    found = await admin.get(path)
    spec: dict[str, Any] = found["spec"]
    disk = {"disk": {"bus": "scsi"}, "serial": serial_of(f"0123abcd-{claim}")}
    source = {"persistentVolumeClaim": {"claimName": claim, "hotpluggable": True}}
    options = {"name": claim, "disk": disk, "volumeSource": source}
    template = spec["template"]["spec"] if "template" in spec else spec
    apply_request(template, {"addVolumeOptions": options})
    await admin.replace(path, found)
