"""Claims that have no volume before somebody uses them, with a simulated KubeVirt."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import pytest

from csi_lvm_iscsi.operator.hotplug.objects import SELECTED_NODE
from csi_lvm_iscsi.storage_client.api_server import ApiError
from tests.unit.operator_hotplug.flow import phase, reason, set_strategy
from tests.unit.operator_hotplug.memory_api import Place
from tests.unit.operator_hotplug.scene import Scene
from tests.unit.operator_hotplug.users import CLAIMS

PODS = "/api/v1/namespaces/default/pods"


async def chosen_node(scene: Scene) -> str | None:
    claim = await scene.api.get(f"{CLAIMS}/new")
    found: str | None = claim["metadata"].get("annotations", {}).get(SELECTED_NODE)
    return found


def message(scene: Scene, name: str = "new") -> str:
    return str(scene.condition(name)["message"])


async def test_it_gets_its_volume_for_the_node_of_the_machine(scene: Scene) -> None:
    await scene.storage_class()
    await scene.unused_claim("new")
    await scene.hotplug("new", "new", "c2")
    await scene.settle(["c2"], rounds=1)
    assert await chosen_node(scene) == "node-1"
    assert (phase(scene, "new"), reason(scene, "new")) == ("Pending", "ClaimNotBound")
    assert "makes it for its first user: for node node-1, where the machine runs" in message(scene)
    await scene.settle(["c2"], rounds=2)
    assert "It is being made for node node-1." in message(scene)
    await scene.provision()
    await scene.settle(["c2"], rounds=12)
    assert phase(scene, "new") == "Attached"


async def test_a_stopped_machine_gets_it_made_when_it_runs(scene: Scene) -> None:
    await set_strategy(scene, "Halted")
    await scene.storage_class()
    await scene.unused_claim("new")
    await scene.hotplug("new", "new", "c2")
    await scene.settle(["c2"], rounds=3)
    assert await chosen_node(scene) is None
    assert "when the machine runs (virtctl start c2)" in message(scene)
    await set_strategy(scene, "Always")
    await scene.settle(["c2"], rounds=3)
    assert await chosen_node(scene) == "node-1"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"driver": "disk.example.com"}, "has to be a pod"),
        ({"allowedTopologies": [{"matchLabelExpressions": []}]}, "has to be a pod"),
        ({"mode": "Immediate"}, "See `kubectl describe pvc new`"),
    ],
)
async def test_no_node_is_chosen_where_that_is_not_ours_to_say(
    scene: Scene, changes: dict[str, Any], words: str
) -> None:
    await scene.storage_class(**changes)
    await scene.unused_claim("new")
    await scene.hotplug("new", "new", "c2")
    await scene.settle(["c2"], rounds=3)
    assert await chosen_node(scene) is None
    assert words in message(scene)


@pytest.mark.parametrize("mode", ["ReadWriteOnce", "ReadWriteMany"])
async def test_a_pod_that_uses_it_has_its_scheduler_choose(scene: Scene, mode: str) -> None:
    await scene.storage_class()
    await scene.unused_claim("new", mode)
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "new"}}]
    await scene.api.create(PODS, {"metadata": {"name": "web-0"}, "spec": {"volumes": volumes}})
    await scene.hotplug("new", "new", "c2")
    await scene.settle(["c2"], rounds=3)
    assert await chosen_node(scene) is None
    assert "these pods use it: web-0." in message(scene)
    await scene.api.delete(f"{PODS}/web-0")
    await scene.settle(["c2"], rounds=5)
    assert await chosen_node(scene) == "node-1"


async def test_of_two_machines_the_one_that_came_first(scene: Scene) -> None:
    await scene.machine("c3")
    await scene.storage_class()
    await scene.unused_claim("new")
    await set_strategy(scene, "Halted")
    await scene.hotplug("first", "new", "c2")
    await scene.passes(2)
    await scene.hotplug("second", "new", "c3")
    await scene.settle(["c2", "c3"], rounds=5)
    assert await chosen_node(scene) is None
    assert reason(scene, "second") == "ClaimInUse"


async def test_of_a_shared_claim_the_machine_that_runs(scene: Scene) -> None:
    await scene.machine("c3")
    await scene.storage_class()
    await scene.unused_claim("new", "ReadWriteMany")
    await set_strategy(scene, "Halted")
    await scene.hotplug("first", "new", "c2")
    await scene.passes(2)
    await scene.hotplug("second", "new", "c3")
    await scene.settle(["c2", "c3"], rounds=5)
    assert await chosen_node(scene) == "node-1"


async def test_no_volume_is_made_that_could_not_be_attached(scene: Scene) -> None:
    await scene.storage_class()
    await scene.unused_claim("new")
    for number in range(3):
        await scene.claim(f"virtio-{number}")
        await scene.hotplug(f"virtio-{number}", f"virtio-{number}", "c2", bus="virtio")
    await scene.settle(["c2"], rounds=12)
    await scene.hotplug("new", "new", "c2", bus="virtio")
    await scene.settle(["c2"], rounds=3)
    assert await chosen_node(scene) is None


async def test_a_claim_that_was_lost_is_not_made_anew(scene: Scene) -> None:
    await scene.storage_class()
    await scene.unused_claim("new")
    await scene.api.merge(f"{CLAIMS}/new/status", {"status": {"phase": "Lost"}})
    await scene.hotplug("new", "new", "c2")
    await scene.settle(["c2"], rounds=3)
    assert await chosen_node(scene) is None
    assert "See `kubectl describe pvc new`" in message(scene)


async def test_a_node_that_the_provisioner_gave_back_is_chosen_again_later(scene: Scene) -> None:
    """That is how it asks for another node (`rescheduling` of sig-storage-lib-external-provisioner)
    where it has no room for this one; it is not to be asked without a pause."""
    await scene.storage_class()
    await scene.unused_claim("new")
    await scene.hotplug("new", "new", "c2")
    await scene.watch()
    await scene.step("new")
    assert await chosen_node(scene) == "node-1"
    given_back = {"metadata": {"annotations": {SELECTED_NODE: None}}}
    await scene.api.merge(f"{CLAIMS}/new", given_back)
    await scene.watch()
    await scene.step("new")
    assert await chosen_node(scene) is None
    await scene.passes(10)
    await scene.step("new")
    assert await chosen_node(scene) == "node-1"


async def test_a_refusal_is_told(scene: Scene) -> None:
    def refuse(place: Place, _: object) -> None:
        if place.plural == "persistentvolumeclaims":
            raise ApiError(HTTPStatus.FORBIDDEN, "the operator may not patch claims")

    await scene.storage_class()
    await scene.unused_claim("new")
    scene.api.admit = refuse
    await scene.hotplug("new", "new", "c2")
    await scene.settle(["c2"], rounds=2)
    assert (phase(scene, "new"), reason(scene, "new")) == ("Pending", "ClaimNotBound")
    assert message(scene).endswith("403: the operator may not patch claims")
