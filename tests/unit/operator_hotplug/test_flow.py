"""The usual flows, with a simulated KubeVirt in both its ways."""

from __future__ import annotations

from csi_lvm_iscsi.model import names
from tests.unit.operator_hotplug.flow import attached, phase, reason, set_strategy
from tests.unit.operator_hotplug.scene import Scene
from tests.unit.operator_hotplug.users import (
    CLAIMS,
    HOTPLUGS,
)

SERIAL = names.serial("0123abcd-data")[:20]


async def test_attached_and_detached(scene: Scene) -> None:
    await attached(scene)
    status = scene.hotplugs()["data"]["status"]
    assert {**status, "conditions": 0} == {
        "phase": "Attached",
        "device": "sda",
        "serial": SERIAL,
        "node": "node-1",
        "attachmentPod": "hp-volume-data",
        "volumeName": "data",
        "attachedAt": status["attachedAt"],
        "observedGeneration": 1,
        "conditions": 0,
    }
    assert scene.entries("c2") == [("data", SERIAL)]
    conditions = {each["type"]: each["status"] for each in status["conditions"]}
    assert conditions == {"Attached": "True", "Prechecked": "True", "Migratable": "False"}

    await scene.api.delete(f"{HOTPLUGS}/data")
    await scene.settle(["c2"], rounds=6)
    assert scene.hotplugs() == {}
    assert scene.entries("c2") == []
    assert scene.guest_has("c2") == []
    assert scene.events() == ["Attached", "Detached"]


async def test_a_stopped_machine_gets_it_with_its_next_start(scene: Scene) -> None:
    await set_strategy(scene, "Halted")
    await scene.hotplug("data", "data", "c2")
    await scene.settle(["c2"], rounds=6)
    assert (phase(scene), reason(scene)) == ("Waiting", "VirtualMachineStopped")
    assert scene.entries("c2") == [("data", SERIAL)]
    await set_strategy(scene, "Always")
    await scene.settle(["c2"], rounds=12)
    assert (phase(scene), reason(scene)) == ("Attached", "Attached")


async def test_a_restart_of_the_machine_is_followed(scene: Scene) -> None:
    await attached(scene)
    await set_strategy(scene, "Halted")
    assert phase(scene) == "Waiting"
    assert "attachedAt" not in scene.hotplugs()["data"]["status"]
    await set_strategy(scene, "Always")
    await scene.settle(["c2"], rounds=12)
    assert phase(scene) == "Attached"
    assert scene.entries("c2") == [("data", SERIAL)]


async def test_what_others_attached_is_told_and_left(scene: Scene) -> None:
    await scene.edit("c2", "add", "theirs", "data", "")
    await set_strategy(scene, "Halted")
    await set_strategy(scene, "Always")
    await scene.hotplug("data", "data", "c2")
    await scene.settle(["c2"], rounds=12)
    assert (phase(scene), reason(scene)) == ("Attached", "AttachedByOthers")
    await scene.api.delete(f"{HOTPLUGS}/data")
    await scene.settle(["c2"], rounds=4)
    assert scene.hotplugs() == {}
    assert scene.entries("c2") == [("data", "")]
    assert scene.taken_out == []
    assert scene.last_event() == (
        "AttachedByOthers",
        "Claim data stays in machine c2: somebody else attached it, in another way.",
    )


async def test_what_the_instance_alone_has_is_told_and_left(scene: Scene) -> None:
    """`virtctl addvolume` without --persist. KubeVirt's subresources would try a request for the
    same claim for ever; where machines are edited, KubeVirt takes out what the machine lacks."""
    if scene.virt.is_declarative:
        return
    await scene.give_instance("c2", "theirs", "data")
    await scene.hotplug("data", "data", "c2")
    await scene.settle(["c2"], rounds=12)
    assert (phase(scene), reason(scene)) == ("Attached", "AttachedByOthers")
    assert scene.entries("c2") == []
    await scene.api.delete(f"{HOTPLUGS}/data")
    await scene.settle(["c2"], rounds=4)
    assert scene.hotplugs() == {}
    assert scene.names_in_guest("c2") == ["theirs", "theirs"]
    await scene.hotplug("again", "data", "c2")
    await scene.settle(["c2"], rounds=4)
    await scene.take_from_instance("c2", "theirs")
    await scene.settle(["c2"], rounds=15)
    assert (phase(scene, "again"), reason(scene, "again")) == ("Attached", "Attached")


async def test_a_part_of_the_machine_is_told_and_left(scene: Scene) -> None:
    await scene.claim("root-c2")
    await scene.hotplug("root", "root-c2", "c2")
    await scene.settle(["c2"], rounds=3)
    assert (phase(scene, "root"), reason(scene, "root")) == ("Attached", "PartOfVirtualMachine")
    await scene.api.delete(f"{HOTPLUGS}/root")
    await scene.settle(["c2"], rounds=3)
    assert scene.hotplugs() == {}
    assert scene.last_event() == (
        "PartOfVirtualMachine",
        "Claim root-c2 stays in machine c2: it is part of the machine.",
    )


async def test_the_second_of_two_says_so_and_takes_over(scene: Scene) -> None:
    await attached(scene)
    await scene.hotplug("later", "data", "c2")
    await scene.settle(["c2"], rounds=3)
    assert (phase(scene, "later"), reason(scene, "later")) == ("Failed", "Duplicate")
    await scene.hotplug("latest", "data", "c2")
    await scene.api.delete(f"{HOTPLUGS}/latest")
    await scene.settle(["c2"], rounds=3)
    assert set(scene.hotplugs()) == {"data", "later"}
    assert scene.entries("c2") == [("data", SERIAL)]
    await scene.api.delete(f"{HOTPLUGS}/data")
    await scene.settle(["c2"], rounds=15)
    assert (phase(scene, "later"), scene.entries("c2")) == ("Attached", [("data", SERIAL)])


async def test_of_one_second_the_one_with_the_disk_is_the_elder(scene: Scene) -> None:
    await attached(scene)
    await scene.hotplug("a", "data", "c2")
    born = scene.hotplugs()["data"]["metadata"]["creationTimestamp"]
    scene.hotplugs()["a"]["metadata"]["creationTimestamp"] = born
    await scene.api.delete(f"{CLAIMS}/data")
    await scene.settle(["c2"], rounds=3)
    assert (reason(scene, "a"), reason(scene)) == ("Duplicate", "Attached")
    for name in ("a", "data"):
        await scene.api.delete(f"{HOTPLUGS}/{name}")
    await scene.settle(["c2"], rounds=6)
    assert (scene.hotplugs(), scene.entries("c2")) == ({}, [])


async def test_an_edit_of_others_in_between_is_kept(scene: Scene) -> None:
    await scene.hotplug("data", "data", "c2")
    await scene.watch()
    await scene.edit("c2", "add", "theirs", "other", "S")
    await scene.step("data")
    await scene.settle(["c2"], rounds=12)
    assert sorted(scene.entries("c2")) == [("data", SERIAL), ("other", "S")]
    # What the operator saw third is second now, and another volume is third.
    await scene.edit("c2", "add", "more", "more", "S")
    await scene.watch()
    await scene.api.delete(f"{HOTPLUGS}/data")
    await scene.watch("hotplugs")
    await scene.edit("c2", "remove", "theirs", "other", "")
    await scene.step("data")
    await scene.settle(["c2"], rounds=8)
    assert (scene.hotplugs(), scene.entries("c2")) == ({}, [("more", "S")])


async def test_a_duplicate_of_the_same_second_does_not_take_the_disk_for_its_own(
    scene: Scene,
) -> None:
    await attached(scene)
    await scene.hotplug("a", "data", "c2")
    born = scene.hotplugs()["data"]["metadata"]["creationTimestamp"]
    scene.hotplugs()["a"]["metadata"]["creationTimestamp"] = born
    await scene.settle(["c2"], rounds=5)
    assert (reason(scene, "a"), reason(scene)) == ("Duplicate", "Attached")
    assert "serial" not in scene.hotplugs()["a"]["status"]
