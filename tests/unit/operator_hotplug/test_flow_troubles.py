"""What is in the way of an attachment, with a simulated KubeVirt in both its ways."""

from __future__ import annotations

import datetime as dt
from http import HTTPStatus

from csi_lvm_iscsi.storage_client.api_server import ApiError
from tests.unit.operator_hotplug.flow import attached, phase, reason, set_strategy
from tests.unit.operator_hotplug.kubevirt import GROUP, NODE
from tests.unit.operator_hotplug.scene import Scene
from tests.unit.operator_hotplug.users import (
    ATTACHMENTS,
    CLAIMS,
    EVENTS,
    HOTPLUGS,
    NODES,
    attachment,
)


async def test_what_the_driver_said_is_quoted(scene: Scene) -> None:
    await scene.hotplug("data", "data", "c2")
    await scene.settle(["c2"], rounds=2)
    error = {
        "time": "2026-11-28T00:00:30Z",
        "message": "rpc error: code = Unavailable desc = storage-2 is unreachable.",
    }
    await scene.api.create(ATTACHMENTS, attachment("pv-data", attachError=error))
    await scene.settle([], rounds=2)
    assert reason(scene) == "AttachFailing"
    assert scene.condition("data")["message"] == "attach: storage-2 is unreachable."
    event = {
        "metadata": {"generateName": "hp."},
        "involvedObject": {"kind": "Pod", "name": "hp-volume-data"},
        "type": "Warning",
        "reason": "FailedMapVolume",
        "lastTimestamp": "2026-11-28T00:01:00Z",
        "message": "MapVolume failed for x : rpc error: code = Internal desc = no login",
    }
    await scene.api.create(EVENTS, event)
    await scene.virt.control("c2")
    await scene.virt.handle("c2")
    await scene.virt.handle("c2")
    await scene.settle([], rounds=3)
    assert scene.condition("data")["message"] == "attachment pod (FailedMapVolume): no login"
    await scene.settle(["c2"], rounds=8)
    assert (phase(scene), reason(scene)) == ("Attached", "Attached")


async def test_a_kubevirt_that_is_down_is_quoted(scene: Scene) -> None:
    await scene.set_available(available=False)
    await scene.hotplug("data", "data", "c2")
    await scene.settle([], rounds=4)
    assert (phase(scene), reason(scene)) == ("Attaching", "AttachFailing")
    assert scene.condition("data")["message"] == "KubeVirt: virt-controller is down"
    await scene.set_available(available=True)
    await scene.settle(["c2"], rounds=12)
    assert phase(scene) == "Attached"


async def test_a_machine_that_takes_no_hot_plugged_volumes_is_told_of(scene: Scene) -> None:
    path = scene.virt.path("virtualmachines", "c2")
    for value in (True, None):
        devices = {"domain": {"devices": {"disableHotplug": value}}}
        await scene.api.merge(path, {"spec": {"template": {"spec": devices}}})
        if value:
            await set_strategy(scene, "Halted")
            await set_strategy(scene, "Always")
            await scene.hotplug("data", "data", "c2")
        await scene.settle(["c2"], rounds=4)
        assert (phase(scene), reason(scene)) == ("Pending", "HotplugDisabledByVirtualMachine")
    assert scene.entries("c2") == []
    await set_strategy(scene, "Halted")
    await set_strategy(scene, "Always")
    await scene.settle(["c2"], rounds=12)
    assert phase(scene) == "Attached"


async def test_a_refusal_is_told_and_asked_again_later(scene: Scene) -> None:
    def refuse(*_: object) -> None:
        raise ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, "denied the request: too many disks")

    admit, subresource = scene.api.admit, scene.api.subresource
    scene.api.admit = lambda place, _: refuse() if place.plural == "virtualmachines" else None
    scene.api.subresource = refuse
    await scene.hotplug("data", "data", "c2")
    await scene.settle([], rounds=2)
    assert (phase(scene), reason(scene)) == ("Failed", "Refused")
    assert "too many disks" in scene.condition("data")["message"]
    scene.api.admit, scene.api.subresource = admit, subresource
    scene.now += dt.timedelta(seconds=10)
    await scene.settle(["c2"], rounds=12)
    assert phase(scene) == "Attached"


async def test_a_refusal_that_lasts_is_told_once(scene: Scene) -> None:
    def refuse(*_: object) -> None:
        raise ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, "denied the request: too many disks")

    scene.api.before_patch = scene.api.subresource = refuse
    await scene.hotplug("data", "data", "c2")
    for _ in range(100):
        await scene.settle([], rounds=1)
        if scene.condition("data")["reason"] != "Requested":
            assert (phase(scene), reason(scene)) == ("Failed", "Refused")
    assert scene.events() == ["Refused"]


async def test_a_claim_that_a_pod_uses_is_attached_when_that_has_ended(scene: Scene) -> None:
    """Nothing else keeps two on one node from writing to a raw block volume."""
    pods = "/api/v1/namespaces/default/pods"
    launcher = {"kind": "VirtualMachineInstance", "name": "c2"}
    volumes = [{"persistentVolumeClaim": {"claimName": "data"}}]
    made = {"metadata": {"name": "launcher", "ownerReferences": [launcher]}, "spec": {}}
    owner = {"kind": "Pod", "uid": (await scene.api.create(pods, made))["metadata"]["uid"]}
    for name, owners in (("hp-volume-x", [owner]), ("web-0", [])):
        metadata = {"name": name, "ownerReferences": owners}
        await scene.api.create(
            pods, {"metadata": metadata, "spec": {"nodeName": NODE, "volumes": volumes}}
        )
    await scene.hotplug("data", "data", "c2")
    await scene.settle(["c2"], rounds=3)
    assert (phase(scene), reason(scene)) == ("Pending", "ClaimInUse")
    assert "use it: web-0." in scene.condition("data")["message"]
    await scene.api.merge(f"{pods}/web-0/status", {"status": {"phase": "Succeeded"}})
    await scene.settle(["c2"], rounds=12)
    assert phase(scene) == "Attached"


async def test_a_claim_that_is_deleted_is_told(scene: Scene) -> None:
    await attached(scene)
    await scene.api.delete(f"{CLAIMS}/data")
    await scene.settle(["c2"], rounds=2)
    assert (phase(scene), reason(scene)) == ("Attached", "Attached")
    assert "the claim is not there:" in scene.condition("data")["message"]
    unmet = scene.condition("data", "Prechecked")
    assert (unmet["status"], unmet["reason"]) == ("False", "ClaimNotFound")
    await set_strategy(scene, "Halted")
    assert (phase(scene), reason(scene)) == ("Waiting", "ClaimNotFound")
    assert scene.condition("data", "Prechecked")["status"] == "False"
    await scene.api.delete(f"{HOTPLUGS}/data")
    await scene.settle(["c2"], rounds=4)
    assert (scene.hotplugs(), scene.entries("c2")) == ({}, [])


async def test_a_node_that_is_gone_is_told(scene: Scene) -> None:
    await scene.hotplug("data", "data", "c2")
    await scene.settle(["c2"], rounds=2)
    await scene.api.delete(f"{NODES}/{NODE}")
    await scene.settle([], rounds=3)
    assert (phase(scene), reason(scene)) == ("Attaching", "AttachFailing")
    assert "is no more in the cluster" in scene.condition("data")["message"]


async def test_a_node_that_fails_under_an_attached_machine_is_told(scene: Scene) -> None:
    """Without asking for the node: KubeVirt says it of the machine."""
    await attached(scene)
    path = scene.virt.path("virtualmachineinstances", "c2", "status")
    for status, is_told in (("True", False), ("False", True), ("True", False)):
        await scene.api.merge(
            path, {"status": {"conditions": [{"type": "Ready", "status": status}]}}
        )
        await scene.settle(["c2"], rounds=2)
        assert (phase(scene), reason(scene)) == ("Attached", "Attached")
        message = scene.condition("data")["message"]
        assert message.endswith("kubectl get node node-1") == is_told, message


async def test_why_a_machine_does_not_start_is_quoted(scene: Scene) -> None:
    await attached(scene)
    await set_strategy(scene, "Halted")
    path = scene.virt.path("virtualmachines", "c2")
    await scene.api.merge(path, {"spec": {"runStrategy": "Always"}})
    await scene.virt.control("c2")
    said = "0/3 nodes are available: 3 Insufficient memory."
    condition = {"type": "PodScheduled", "status": "False", "message": said}
    path = scene.virt.path("virtualmachineinstances", "c2", "status")
    await scene.api.merge(path, {"status": {"phase": "Scheduling", "conditions": [condition]}})
    await scene.settle([], rounds=4)
    assert (phase(scene), reason(scene)) == ("Attaching", "VirtualMachineStarting")
    assert said in scene.condition("data")["message"]


async def test_a_stopped_machine_is_edited_also_where_kubevirt_hot_plugs_nothing(
    scene: Scene,
) -> None:
    await attached(scene)
    await set_strategy(scene, "Halted")
    gates: dict[str, list[str]] = {"featureGates": []}
    path = f"{GROUP}/namespaces/kubevirt/kubevirts/kubevirt"
    await scene.api.merge(path, {"spec": {"configuration": {"developerConfiguration": gates}}})
    await scene.api.delete(f"{HOTPLUGS}/data")
    await scene.settle(["c2"], rounds=4)
    assert (scene.hotplugs(), scene.entries("c2")) == ({}, [])
    assert scene.last_event()[0] == "Detached"


async def test_what_never_attached_anything_does_not_wait_for_the_disk_of_another(
    scene: Scene,
) -> None:
    await scene.edit("c2", "add", "theirs", "data", "T")
    await scene.give_instance("c2", "theirs", "data")
    await scene.settle(["c2"], rounds=8)
    scene.virt.held.add("theirs")
    await scene.edit("c2", "remove", "theirs", "data", "T")
    await scene.take_from_instance("c2", "theirs")
    await scene.hotplug("data", "data", "c2")
    await scene.settle(["c2"], rounds=3)
    assert (phase(scene), reason(scene)) == ("Pending", "StillDetaching")
    await scene.api.delete(f"{HOTPLUGS}/data")
    await scene.settle(["c2"], rounds=2)
    assert scene.hotplugs() == {}
