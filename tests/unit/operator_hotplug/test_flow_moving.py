"""What becomes of an attached volume as its machine moves, with a simulated KubeVirt in both its
ways."""

from __future__ import annotations

from tests.unit.operator_hotplug.flow import phase, reason
from tests.unit.operator_hotplug.kubevirt import NODE, OTHER_NODE
from tests.unit.operator_hotplug.scene import Scene
from tests.unit.operator_hotplug.users import ATTACHMENTS, HOTPLUGS, attachment


async def _attached(scene: Scene) -> None:
    await scene.claim("shared", "ReadWriteMany")
    await scene.hotplug("data", "shared", "c2")
    await scene.settle(["c2"], rounds=12)
    assert phase(scene) == "Attached"


def _where(scene: Scene) -> tuple[str, str]:
    status = scene.hotplugs()["data"]["status"]
    return status["node"], status["attachmentPod"]


async def test_a_machine_that_moves_as_it_runs_is_followed(scene: Scene) -> None:
    """It has the volume all the while, for a time on two nodes."""
    await _attached(scene)
    since = scene.hotplugs()["data"]["status"]["attachedAt"]
    await scene.api.create(ATTACHMENTS, attachment("pv-shared", NODE))
    await scene.api.create(ATTACHMENTS, attachment("pv-shared", OTHER_NODE))
    await scene.settle(["c2"], rounds=2)
    await scene.virt.move("c2")
    for _ in range(4):
        await scene.settle(["c2"], rounds=1)
        assert (phase(scene), reason(scene)) == ("Attached", "Attached")
    assert _where(scene) == (OTHER_NODE, "hp-volume-shared-1")
    assert scene.hotplugs()["data"]["status"]["attachedAt"] == since
    await scene.api.delete(f"{HOTPLUGS}/data")
    await scene.settle(["c2"], rounds=6)
    assert (scene.hotplugs(), scene.guest_has("c2")) == ({}, [])
    assert scene.events() == ["Attached", "Detached"]


async def test_a_machine_that_moves_while_it_is_detached_ends_it(scene: Scene) -> None:
    await _attached(scene)
    scene.virt.held.add("shared")
    await scene.api.delete(f"{HOTPLUGS}/data")
    await scene.settle(["c2"], rounds=3)
    await scene.virt.move("c2")
    await scene.settle(["c2"], rounds=20)
    assert (phase(scene), reason(scene)) == ("Detaching", "GuestHolds")
    assert scene.hotplugs()["data"]["status"]["node"] == OTHER_NODE
    scene.virt.held.clear()
    await scene.settle(["c2"], rounds=4)
    assert (scene.hotplugs(), scene.events()[-1]) == ({}, "Detached")


async def test_an_attachment_pod_that_is_made_anew_is_followed(scene: Scene) -> None:
    await _attached(scene)
    assert _where(scene) == (NODE, "hp-volume-shared")
    scene.virt.lose_pods("c2")
    await scene.settle(["c2"], rounds=2)
    assert (phase(scene), _where(scene)) == ("Attached", (NODE, "hp-volume-shared-1"))
    assert scene.events() == ["Attached"]
