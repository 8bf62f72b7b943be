"""Flows of machines whose volumes somebody changes, with a simulated KubeVirt in both its ways."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.operator_hotplug.flow import attached, phase, reason, set_strategy
from tests.unit.operator_hotplug.kubevirt import GROUP
from tests.unit.operator_hotplug.scene import Scene
from tests.unit.operator_hotplug.users import HOTPLUGS, NAMESPACE

Object = dict[str, Any]


async def change(
    scene: Scene, change_it: Callable[[Object], None], plural: str = "virtualmachines"
) -> None:
    """Somebody edits a machine, or KubeVirt its instance."""
    found = copy.deepcopy(scene.api.objects[(GROUP, NAMESPACE, plural, "c2")])
    change_it(found)
    await scene.api.replace(scene.virt.path(plural, "c2"), found)


async def becomes(scene: Scene, name: str, claim: str, plural: str = "virtualmachines") -> None:
    """A volume is of another claim from now on."""

    def swap(found: Object) -> None:
        spec = found["spec"]["template"]["spec"] if "template" in found["spec"] else found["spec"]
        (volume,) = (each for each in spec["volumes"] if each["name"] == name)
        volume["persistentVolumeClaim"]["claimName"] = claim

    await change(scene, swap, plural)


async def restored(scene: Scene) -> None:
    """As a VirtualMachineRestore: the volumes are of restored claims, all else of them stays."""
    await attached(scene)
    await set_strategy(scene, "Halted")
    await scene.claim("restored")
    await becomes(scene, "data", "restored")


@pytest.mark.parametrize("is_started", [False, True])
async def test_a_restored_machine_does_not_get_the_old_volume_beside_the_new(
    scene: Scene, *, is_started: bool
) -> None:
    await restored(scene)
    if is_started:
        await set_strategy(scene, "Always")
    await scene.settle(["c2"], rounds=12)
    assert [claim for claim, _ in scene.entries("c2")] == ["restored"]
    assert (phase(scene), reason(scene)) == ("Failed", "VolumeMoved")
    assert scene.condition("data")["message"].startswith(
        "Volume data of VirtualMachine c2 is of cl"
    )


@pytest.mark.parametrize("is_told_before", [False, True])
async def test_a_restored_volume_stays_and_that_is_told(
    scene: Scene, *, is_told_before: bool
) -> None:
    await restored(scene)
    if is_told_before:
        await scene.settle(["c2"], rounds=3)
    await scene.api.delete(f"{HOTPLUGS}/data")
    await scene.settle(["c2"], rounds=4)
    assert (scene.hotplugs(), len(scene.entries("c2"))) == ({}, 1)
    told, message = scene.last_event()
    assert (told, "stays in machine c2, of claim restored." in message) == (
        "DetachUnfinished",
        True,
    )


async def test_a_volume_that_is_migrated_is_not_added_again(scene: Scene) -> None:
    """With `updateVolumesStrategy: Migration`, before and after."""
    await attached(scene)
    await scene.claim("new")
    await change(scene, lambda found: found["spec"].update(updateVolumesStrategy="Migration"))
    await becomes(scene, "data", "new")
    await scene.watch()
    await scene.step("data")
    assert reason(scene) == "VolumeMoved"
    await becomes(scene, "data", "new", "virtualmachineinstances")
    await change(scene, lambda found: found["spec"].pop("updateVolumesStrategy"))
    await scene.settle(["c2"], rounds=12)
    assert [claim for claim, _ in scene.entries("c2")] == ["new"]
    assert reason(scene) == "VolumeMoved"


async def test_a_guest_that_has_another_claim_by_the_name_is_not_attached(scene: Scene) -> None:
    """Its root disk is edited to be of the claim: KubeVirt does that with its next start."""
    await becomes(scene, "root", "data")
    await scene.hotplug("data", "data", "c2")
    await scene.settle(["c2"], rounds=6)
    assert scene.condition("data")["status"] == "False"
    assert (phase(scene), reason(scene)) == ("Waiting", "RestartRequired")


async def test_a_volume_that_is_made_part_of_a_running_machine_waits_for_its_start(
    scene: Scene,
) -> None:
    def add(found: Object) -> None:
        spec = found["spec"]["template"]["spec"]
        spec["volumes"].append({"name": "more", "persistentVolumeClaim": {"claimName": "data"}})
        spec["domain"]["devices"]["disks"].append({"name": "more", "disk": {"bus": "virtio"}})

    await change(scene, add)
    await scene.hotplug("data", "data", "c2")
    await scene.settle(["c2"], rounds=12)
    assert (phase(scene), reason(scene)) == ("Waiting", "RestartRequired")
    await set_strategy(scene, "Halted")
    await set_strategy(scene, "Always")
    await scene.settle(["c2"], rounds=4)
    assert (phase(scene), reason(scene)) == ("Attached", "PartOfVirtualMachine")


async def test_it_is_added_again_by_the_name_that_the_instance_has(scene: Scene) -> None:
    """Another would be refused for ever, and hold up all later requests of the machine."""
    await scene.claim("other")
    if scene.virt.is_declarative:
        await scene.edit("c2", "add", "data", "other", "X")
    else:
        await scene.request("c2", "data", "other", "X")
    await scene.settle(["c2"], rounds=8)
    await attached(scene)
    ours = scene.hotplugs()["data"]["status"]["volumeName"]
    assert ours.startswith("vhp-")
    await scene.edit("c2", "remove", "data", "other", "")
    if not scene.virt.is_declarative:
        await scene.take_from_instance("c2", "data")
    await scene.settle(["c2"], rounds=8)
    # A tool applies a manifest without it again.
    await scene.edit("c2", "remove", ours, "data", "")
    await scene.settle(["c2"], rounds=20)
    assert scene.requests("c2") == []
    assert phase(scene) == "Attached"
    await scene.api.delete(f"{HOTPLUGS}/data")
    await scene.settle(["c2"], rounds=12)
    assert (scene.hotplugs(), scene.entries("c2"), scene.guest_has("c2")) == ({}, [], [])


# Only so: requests are worked on all the same.
@pytest.mark.parametrize("scene", [True], indirect=True, ids=["declarative"])
@pytest.mark.parametrize("is_deleted", [False, True])
async def test_under_a_migration_strategy_an_edit_is_not_passed_on(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, *, is_deleted: bool
) -> None:
    """pkg/storage/hotplug/hotplug.go: HandleDeclarativeVolumes."""
    passes_on = scene.virt._pass_on

    async def nothing(_machine: Object, _instance: Object | None) -> None:
        pass

    if is_deleted:
        await attached(scene)
    else:
        await scene.hotplug("data", "data", "c2")
        await scene.watch()
        await scene.step("data")
    await change(scene, lambda found: found["spec"].update(updateVolumesStrategy="Migration"))
    monkeypatch.setattr(scene.virt, "_pass_on", nothing)
    if is_deleted:
        await scene.api.delete(f"{HOTPLUGS}/data")
    await scene.settle(["c2"], rounds=20)
    assert reason(scene) == "VolumeMigration"
    await change(scene, lambda found: found["spec"].pop("updateVolumesStrategy"))
    monkeypatch.setattr(scene.virt, "_pass_on", passes_on)
    await scene.settle(["c2"], rounds=12)
    assert scene.guest_has("c2") == ([] if is_deleted else ["data"])
    assert bool(scene.hotplugs()) != is_deleted
