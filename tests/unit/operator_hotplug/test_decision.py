"""The rules, a row for each world that calls for another decision."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest

from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.operator.hotplug import rules
from csi_lvm_iscsi.operator.hotplug.machines import (
    Instance,
    VirtualMachine,
    Volume,
    VolumeStatus,
)
from csi_lvm_iscsi.operator.hotplug.objects import (
    Claim,
    KubeVirt,
    Told,
    VolumeAttachment,
    VolumeHotplug,
    serial_of,
)
from csi_lvm_iscsi.operator.hotplug.world import Action, Whose, World, volume_name
from tests.unit.operator_hotplug.kubevirt import apply_request, kubevirt_object, machine_object
from tests.unit.operator_hotplug.users import attachment

NOW = dt.datetime(2026, 11, 28, tzinfo=dt.UTC)
HANDLE = "0123abcd-data"
SERIAL = serial_of(HANDLE)


def hotplug(
    name: str = "h",
    machine: str = "c2",
    *,
    deleted: bool = False,
    **spec: Any,  # noqa: ANN401
) -> VolumeHotplug:
    metadata = {
        "name": name,
        "namespace": "default",
        "uid": name,
        "resourceVersion": "1",
        "generation": 1,
        "creationTimestamp": "2026-11-28T00:00:00Z",
        **({"deletionTimestamp": "2026-11-28T00:00:00Z"} if deleted else {}),
    }
    made = {"claimName": "data", "virtualMachineName": machine, **spec}
    return VolumeHotplug.of({"metadata": metadata, "spec": made})


def kubevirt(*gates: str, version: str = "v1.6.0", disabled: tuple[str, ...] = ()) -> KubeVirt:
    found = kubevirt_object(*gates, version=version)
    found["metadata"]["namespace"] = "kubevirt"
    developer = found["spec"]["configuration"]["developerConfiguration"]
    developer["disabledFeatureGates"] = list(disabled)
    return KubeVirt.of(found)


def machine(**spec: Any) -> VirtualMachine:  # noqa: ANN401
    found = machine_object("c2")
    found["metadata"] |= {"namespace": "default", "resourceVersion": "7"}
    found["spec"] |= spec
    return VirtualMachine.of(found)


def with_virtio(has: tuple[str, ...], requested: tuple[str, ...]) -> VirtualMachine:
    """A machine with hot-pluggable virtio volumes, and requests for more."""
    found = machine_object("c2")
    found["metadata"] |= {"namespace": "default", "resourceVersion": "7"}
    options = [
        {
            "name": each,
            "disk": {"disk": {"bus": "virtio"}},
            "volumeSource": {
                "persistentVolumeClaim": {"claimName": f"of-{each}", "hotpluggable": True}
            },
        }
        for each in (*has, *requested)
    ]
    for each in options[: len(has)]:
        apply_request(found["spec"]["template"]["spec"], {"addVolumeOptions": each})
    requests = [{"addVolumeOptions": each} for each in options[len(has) :]]
    return VirtualMachine.of({**found, "status": {"volumeRequests": requests}})


def with_ours() -> VirtualMachine:
    """A machine that asks for our volume."""
    ours = Volume("data", "data", is_hotpluggable=True, serial=SERIAL, bus="scsi")
    return replace(machine(), volumes=(*machine().volumes, ours))


def instance(*virtio: str, memory: str = "1Gi", node: str = "node-1") -> Instance:
    disks = [{"name": each, "disk": {"bus": "virtio"}} for each in virtio]
    source = {"claimName": "x", "hotpluggable": True}
    volumes = [{"name": each, "persistentVolumeClaim": source} for each in virtio]
    domain = {"devices": {"disks": disks}, "memory": {"guest": memory}}
    return Instance.of(
        {
            "metadata": {"name": "c2", "namespace": "default"},
            "spec": {"domain": domain, "volumes": volumes},
            "status": {"phase": "Running", "nodeName": node},
        }
    )


def claim(*modes: str, phase: str = "Bound", **metadata: str) -> Claim:
    spec = {"volumeName": "pv-data", "accessModes": list(modes or ("ReadWriteOnce",))}
    meta = {"name": "data", "namespace": "default", **metadata}
    return Claim.of({"metadata": meta, "spec": spec, "status": {"phase": phase}})


WORLD = World(
    now=NOW,
    hotplug=hotplug(),
    kubevirt=kubevirt("DeclarativeHotplugVolumes"),
    machine=machine(),
    instance=instance(),
    claim=claim(),
    volume_handle=HANDLE,
)
LEFT = VolumeStatus(
    name="data",
    claim="data",
    phase="Detaching",
    target="",
    is_hotplugged=True,
    attachment_pod="hp-volume-data",
    attachment_pod_uid="",
    message="",
)
ELSEWHERE = (VolumeAttachment.of(attachment("pv-data", "node-2")),)


@pytest.mark.parametrize(
    ("changes", "phase", "reason", "words"),
    [
        ({}, "Attaching", "Requested", "asked to add volume data"),
        ({"kubevirt": None}, "Pending", "KubeVirtMissing", "install it"),
        ({"kubevirt": kubevirt()}, "Pending", "HotplugDisabled", "DeclarativeHotplugVolumes"),
        ({"kubevirt": kubevirt(version="")}, "Pending", "KubeVirtUnavailable", "KubeVirt"),
        ({"machine": None}, "Pending", "VirtualMachineNotFound", "no VirtualMachine c2"),
        (
            {"machine": machine(updateVolumesStrategy="Migration")},
            "Pending",
            "VolumeMigration",
            "updateVolumesStrategy",
        ),
        (
            {"machine": replace(machine(), disables_hotplug=True), "instance": None},
            "Pending",
            "HotplugDisabledByVirtualMachine",
            "Take that out of spec.template.spec.domain.devices, or of its preference.",
        ),
        # Taken out, but not yet restarted.
        (
            {"instance": replace(instance(), disables_hotplug=True)},
            "Pending",
            "HotplugDisabledByVirtualMachine",
            "virtctl restart c2",
        ),
        (
            {"machine": replace(machine(), deleted=True)},
            "Pending",
            "VirtualMachineDeleting",
            "is being deleted",
        ),
        (
            {"machine": with_ours(), "instance": replace(instance(), phase="Scheduling")},
            "Attaching",
            "VirtualMachineStarting",
            "VirtualMachine c2 starts (Scheduling), and gets the volume as it does.",
        ),
        (
            {"instance": replace(instance(), statuses=(LEFT,))},
            "Pending",
            "StillDetaching",
            "still being taken out of the guest",
        ),
        ({"claim": None}, "Pending", "ClaimNotFound", "PersistentVolumeClaim data is not there"),
        ({"claim": claim(deletionTimestamp="x")}, "Pending", "ClaimNotFound", "being deleted"),
        (
            {"claim": claim(phase="Pending")},
            "Pending",
            "ClaimNotBound",
            "kubectl describe pvc data",
        ),
        (
            {"claim": claim(phase="Pending"), "told": (Told("claim", "no room", NOW),)},
            "Pending",
            "ClaimNotBound",
            "claim: no room",
        ),
        (
            {"attachments": ELSEWHERE, "users": ("web-0",)},
            "Pending",
            "ClaimInUse",
            "node-2, where these pods use it: web-0",
        ),
        (
            {"attachments": ELSEWHERE, "claim": claim("ReadWriteMany")},
            "Attaching",
            "Requested",
            "asked",
        ),
        ({"rivals": ("web-0",)}, "Pending", "ClaimInUse", "these pods use it: web-0"),
        ({"attachments": ELSEWHERE, "instance": None}, "Attaching", "Requested", "asked"),
        ({"older": (hotplug("a"),)}, "Failed", "Duplicate", "VolumeHotplug a"),
        ({"older": (hotplug("a", "c3"),)}, "Pending", "ClaimInUse", "machine c3"),
        (
            {"hotplug": hotplug(bus="virtio"), "instance": instance("a", "b", "c")},
            "Failed",
            "NoFreePort",
            "Use `bus: scsi`",
        ),
        # Of several at once the instance has none yet.
        (
            {
                "hotplug": hotplug(bus="virtio"),
                "machine": with_virtio(("a", "b"), requested=("b", "c")),
                "instance": instance("a"),
            },
            "Failed",
            "NoFreePort",
            "3 are taken (a, b, c)",
        ),
        (
            {
                "hotplug": hotplug(bus="virtio"),
                "machine": with_virtio(("a",), requested=("b",)),
                "instance": instance("a"),
            },
            "Attaching",
            "Requested",
            "asked",
        ),
        (
            {"hotplug": hotplug(bus="virtio"), "instance": instance("a", "b", "c", memory="4Gi")},
            "Attaching",
            "Requested",
            "asked",
        ),
    ],
)
def test_before_the_machine_has_it(
    changes: dict[str, Any], phase: str, reason: str, words: str
) -> None:
    decided = rules.decide(replace(WORLD, **changes))
    assert (decided.phase, decided.reason) == (phase, reason)
    assert words in decided.message
    assert (decided.action is Action.ADD) == (reason == "Requested")


@pytest.mark.parametrize(
    ("condition", "told"),
    [
        ({"status": "True"}, ""),
        ({"status": "False"}, "its virt-launcher pod is not"),
        ({"status": "False", "message": "virt-launcher pod is terminating"}, "is terminating"),
        # Of a machine that starts, which was not ready before.
        ({"status": "False", "reason": "GuestNotRunning", "message": "not reported"}, ""),
    ],
)
def test_a_machine_that_is_not_ready_though_it_runs(condition: dict[str, str], told: str) -> None:
    status = {"phase": "Running", "conditions": [{"type": "Ready", **condition}]}
    metadata = {"name": "c2", "namespace": "default"}
    found = Instance.of({"metadata": metadata, "spec": {}, "status": status})
    assert told in found.not_ready
    assert bool(told) == bool(found.not_ready)


def test_a_deletion_ends_at_once_where_there_is_nothing_to_take_out() -> None:
    deleted = replace(WORLD, hotplug=hotplug(deleted=True))
    for world in (deleted, replace(deleted, machine=None), replace(deleted, claim=None)):
        assert rules.decide(world).action is Action.FINISH


def test_the_serial_number_is_the_beginning_of_the_disks_own() -> None:
    assert names.serial(HANDLE).startswith(SERIAL)
    assert len(SERIAL) == 20


@pytest.mark.parametrize(
    ("name", "taken", "expected"),
    [
        ("data", set(), "data"),
        ("data", {"data"}, "vhp-3a6eb0790f39ac87"),
        ("data.v1", set(), None),
        ("a" * 64, set(), None),
    ],
)
def test_a_volume_is_named_like_its_claim_where_kubevirt_takes_that(
    name: str, taken: set[str], expected: str | None
) -> None:
    made = volume_name(hotplug(claimName=name), taken)
    assert made == expected if expected else made.startswith("vhp-")


@pytest.mark.parametrize(
    ("modes", "expected"), [(("ReadOnlyMany",), False), (("ReadWriteMany",), True)]
)
def test_what_is_only_read_migrates_with_read_write_many_alone(
    modes: tuple[str, ...], *, expected: bool
) -> None:
    decided = rules.decide(replace(WORLD, hotplug=hotplug(readOnly=True), claim=claim(*modes)))
    found = {each.kind: each.status for each in decided.conditions}
    assert found["Migratable"] is expected


def test_a_claim_that_the_machine_uses_by_a_copy_of_its_own_is_part_of_it() -> None:
    found = machine_object("c2")
    found["metadata"] |= {"namespace": "default", "resourceVersion": "7"}
    (root,) = found["spec"]["template"]["spec"]["volumes"]
    root["ephemeral"] = {"persistentVolumeClaim": {"claimName": "data"}}
    del root["persistentVolumeClaim"]
    world = replace(WORLD, machine=VirtualMachine.of(found))
    assert world.entry
    assert world.whose(world.entry) is Whose.MACHINES
