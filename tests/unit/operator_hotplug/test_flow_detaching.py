"""Flows of a deletion, with a simulated KubeVirt in both its ways."""

from __future__ import annotations

from http import HTTPStatus

import pytest

from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.storage_client.api_server import ApiError
from tests.unit.operator_hotplug.flow import attached, phase, reason
from tests.unit.operator_hotplug.kubevirt import GROUP, NODE
from tests.unit.operator_hotplug.scene import Scene
from tests.unit.operator_hotplug.users import HOTPLUGS, NAMESPACE, NODES

SERIAL = names.serial("0123abcd-data")[:20]


async def test_a_guest_that_holds_the_disk_is_named_and_ended_by_force(scene: Scene) -> None:
    await attached(scene)
    scene.virt.held.add("data")
    await scene.api.delete(f"{HOTPLUGS}/data")
    await scene.settle(["c2"], rounds=8)
    assert reason(scene) != "GuestHolds"
    await scene.settle(["c2"], rounds=8)
    assert (phase(scene), reason(scene)) == ("Detaching", "GuestHolds")
    assert "unmount" in scene.condition("data")["message"]
    assert scene.condition("data", "Detached")["status"] == "False"
    await scene.api.merge(f"{HOTPLUGS}/data", {"spec": {"force": True}})
    await scene.settle(["c2"], rounds=2)
    assert scene.hotplugs() == {}
    assert scene.events() == ["Attached", "GuestHolds", "DetachUnfinished"]


async def test_force_ends_it_where_kubevirt_cannot_be_asked(scene: Scene) -> None:
    await attached(scene)
    scene.virt_api_is_away = True
    await scene.api.delete(f"{HOTPLUGS}/data")
    await scene.settle(["c2"], rounds=10)
    assert reason(scene) == "KubeVirtUnavailable"
    assert "patch vhp" in scene.condition("data")["message"]
    await scene.api.merge(f"{HOTPLUGS}/data", {"spec": {"force": True}})
    await scene.settle(["c2"], rounds=8)
    assert scene.hotplugs() == {}
    assert scene.events()[-1] == "DetachUnfinished"


async def test_controllers_that_are_down_are_not_waited_for(scene: Scene) -> None:
    await attached(scene)
    await scene.set_available(available=False)
    await scene.api.delete(f"{HOTPLUGS}/data")
    for _ in range(30):
        await scene.settle([], rounds=1)
    assert scene.hotplugs() == {}
    assert scene.events()[-1] == "DetachUnfinished"


@pytest.mark.parametrize(
    ("down", "words"),
    [
        ("virt-controller", "No pod of virt-controller is ready."),
        ("virt-handler", "No pod of virt-handler of node node-1 is ready."),
    ],
)
async def test_a_part_that_is_down_is_named_though_kubevirt_says_that_it_works(
    scene: Scene, down: str, words: str
) -> None:
    """With virt-operator down nobody takes that back. It is waited for all the same."""
    await attached(scene)
    await scene.set_available(available=True, down=(down,))
    await scene.api.delete(f"{HOTPLUGS}/data")
    for _ in range(70):
        await scene.settle([], rounds=1)
        if down == "virt-handler":
            await scene.virt.control("c2")
    assert (phase(scene), reason(scene)) == ("Detaching", "DetachFailing")
    message = scene.condition("data")["message"]
    assert f"{words} See `kubectl -n kubevirt get pods`. To end this all the same: " in message
    assert scene.events().count("DetachFailing") == 1
    await scene.set_available(available=True)
    await scene.settle(["c2"], rounds=10)
    assert (scene.hotplugs(), scene.events()[-1]) == ({}, "Detached")


async def test_a_request_to_add_that_nobody_works_on_names_the_part_that_is_down(
    scene: Scene,
) -> None:
    if scene.virt.is_declarative:
        return
    await scene.set_available(available=True, down=("virt-controller",))
    await scene.hotplug("data", "data", "c2")
    await scene.settle([], rounds=2)
    await scene.api.delete(f"{HOTPLUGS}/data")
    await scene.settle([], rounds=20)
    assert reason(scene) == "DetachFailing"
    assert "No pod of virt-controller is ready." in scene.condition("data")["message"]


async def test_a_guest_that_holds_is_waited_for_though_kubevirt_is_away_for_a_moment(
    scene: Scene,
) -> None:
    await attached(scene)
    scene.virt.held.add("data")
    await scene.api.delete(f"{HOTPLUGS}/data")
    await scene.settle(["c2"], rounds=40)
    await scene.set_available(available=False)
    await scene.settle([], rounds=3)
    await scene.set_available(available=True)
    await scene.settle(["c2"], rounds=30)
    assert reason(scene) == "GuestHolds"


async def test_a_guest_that_holds_is_waited_for_though_another_node_lacks_kubevirt(
    scene: Scene,
) -> None:
    """KubeVirt says that it is not available then."""
    await attached(scene)
    scene.virt.held.add("data")
    await scene.set_available(available=False, down=())
    await scene.api.delete(f"{HOTPLUGS}/data")
    await scene.settle(["c2"], rounds=60)
    assert reason(scene) == "GuestHolds"


async def test_it_ends_where_kubevirt_is_down_and_cannot_be_asked(scene: Scene) -> None:
    await attached(scene)
    scene.virt_api_is_away = True
    await scene.set_available(available=False)
    await scene.api.delete(f"{HOTPLUGS}/data")
    await scene.settle([], rounds=15)
    assert reason(scene) == "KubeVirtUnavailable"
    await scene.settle([], rounds=10)
    assert (scene.hotplugs(), scene.events()[-1]) == ({}, "DetachUnfinished")


async def test_a_guest_that_has_let_go_is_not_blamed(scene: Scene) -> None:
    await attached(scene)
    scene.virt.stuck.add("data")
    await scene.api.delete(f"{HOTPLUGS}/data")
    await scene.settle(["c2"], rounds=20)
    assert reason(scene) == "DetachFailing"
    assert "attachment pod hp-volume-data is still there" in scene.condition("data")["message"]
    scene.virt.stuck.clear()
    await scene.settle(["c2"], rounds=3)
    assert (scene.hotplugs(), scene.events()[-1]) == ({}, "Detached")


async def test_a_machine_that_is_deleted_ends_it(scene: Scene) -> None:
    await attached(scene)
    await scene.api.delete(scene.virt.path("virtualmachines", "c2"))
    await scene.settle(["c2"], rounds=5)
    assert (phase(scene), reason(scene)) == ("Pending", "VirtualMachineNotFound")
    await scene.api.delete(f"{HOTPLUGS}/data")
    await scene.settle([], rounds=2)
    assert scene.hotplugs() == {}


async def test_a_machine_that_is_being_deleted_is_told(scene: Scene) -> None:
    await attached(scene)
    await scene.api.delete(scene.virt.path("virtualmachines", "c2"))
    await scene.settle([], rounds=2)
    assert (phase(scene), reason(scene)) == ("Attached", "Attached")
    assert "But VirtualMachine c2 is being deleted" in scene.condition("data")["message"]
    assert scene.condition("data", "Prechecked")["reason"] == "VirtualMachineDeleting"
    await scene.virt.control("c2")
    await scene.settle([], rounds=2)
    assert (phase(scene), reason(scene)) == ("Pending", "VirtualMachineDeleting")
    assert "virtctl start" not in scene.condition("data")["message"]


async def test_a_node_that_is_gone_ends_it(scene: Scene) -> None:
    await attached(scene)
    scene.virt.held.add("data")
    await scene.api.delete(f"{NODES}/{NODE}")
    await scene.api.delete(f"{HOTPLUGS}/data")
    for _ in range(4):
        await scene.settle(["c2"], rounds=1)
    assert scene.hotplugs() == {}
    assert scene.events()[-1] == "DetachUnfinished"


async def test_a_node_that_is_gone_is_not_that_of_the_next_instance(scene: Scene) -> None:
    """KubeVirt starts the machine anew, and it has no node yet."""
    await scene.hotplug("data", "data", "c2")
    await scene.settle(["c2"], rounds=2)
    await scene.api.delete(f"{NODES}/{NODE}")
    await scene.settle([], rounds=4)
    assert reason(scene) == "AttachFailing"
    await scene.api.delete(scene.virt.path("virtualmachineinstances", "c2"))
    await scene.virt.control("c2")
    await scene.settle([], rounds=2)
    assert reason(scene) == "VirtualMachineStarting"
    await scene.api.delete(f"{HOTPLUGS}/data")
    await scene.settle([], rounds=2)
    assert scene.events()[-1] != "DetachUnfinished"


async def test_what_was_edited_out_of_the_machine_is_taken_out_of_its_guest(scene: Scene) -> None:
    """With the subresources KubeVirt leaves it there."""
    await attached(scene)
    await scene.edit("c2", "remove", "data", "data", "")
    await scene.api.delete(f"{HOTPLUGS}/data")
    await scene.settle(["c2"], rounds=8)
    assert (scene.hotplugs(), scene.guest_has("c2")) == ({}, [])


async def test_force_asks_first_for_what_was_edited_out_of_the_machine(scene: Scene) -> None:
    await attached(scene)
    await scene.edit("c2", "remove", "data", "data", "")
    await scene.api.merge(f"{HOTPLUGS}/data", {"spec": {"force": True}})
    await scene.api.delete(f"{HOTPLUGS}/data")
    await scene.settle(["c2"], rounds=4)
    assert scene.hotplugs() == {}
    await scene.settle(["c2"], rounds=4)
    assert scene.guest_has("c2") == []


async def test_a_guest_that_outlives_its_machine_loses_the_disk_or_that_is_told(
    scene: Scene,
) -> None:
    """`kubectl delete vm --cascade=orphan`."""
    await attached(scene)
    del scene.api.objects[(GROUP, NAMESPACE, "virtualmachines", "c2")]
    await scene.api.delete(f"{HOTPLUGS}/data")
    for _ in range(8):
        await scene.settle([], rounds=1)
        await scene.virt.handle("c2")
    assert scene.hotplugs() == {}
    if scene.virt.is_declarative:
        message = "VirtualMachine c2 is gone, and its instance runs on. Its guest may have the disk"
        assert scene.events()[-1] == "DetachUnfinished"
        assert scene.last_event()[1].startswith(message)
    else:
        assert (scene.guest_has("c2"), scene.events()[-1]) == ([], "Detached")


async def test_a_deletion_right_after_the_request_leaves_nothing(scene: Scene) -> None:
    """The operator still sees the machine as it was before it asked."""
    await scene.hotplug("data", "data", "c2")
    await scene.watch()
    await scene.step("data")
    await scene.api.delete(f"{HOTPLUGS}/data")
    await scene.watch("hotplugs")
    await scene.step("data")
    assert scene.hotplugs() != {} or scene.entries("c2") == []
    await scene.settle(["c2"], rounds=10)
    assert (scene.hotplugs(), scene.entries("c2"), scene.guest_has("c2")) == ({}, [], [])


async def test_a_request_that_is_done_late_leaves_no_disk(scene: Scene) -> None:
    """virt-api does what it was asked when nobody waits for its answer any more. The operator is
    restarted in between."""
    scene.late_by = 110
    await scene.hotplug("data", "data", "c2")
    await scene.settle(["c2"], rounds=1)
    assert len(scene.late) == 1
    await scene.api.delete(f"{HOTPLUGS}/data")
    scene.restart_operator()
    await scene.settle(["c2"], rounds=30)
    assert (phase(scene), reason(scene)) == ("Detaching", "Detaching")
    assert "otherwise this ends at 00:02:20 UTC" in scene.condition("data")["message"]
    await scene.settle(["c2"], rounds=30)
    assert (scene.late, scene.hotplugs(), scene.entries("c2")) == ([], {}, [])
    assert scene.events()[-1] == "Detached"


async def test_a_deletion_after_an_answer_waits_for_nothing(scene: Scene) -> None:
    def refuse(*_: object) -> None:
        raise ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, "denied the request: too many disks")

    scene.api.before_patch = scene.api.subresource = refuse
    await scene.hotplug("data", "data", "c2")
    await scene.settle([], rounds=2)
    await scene.api.delete(f"{HOTPLUGS}/data")
    await scene.settle([], rounds=1)
    assert scene.hotplugs() == {}
