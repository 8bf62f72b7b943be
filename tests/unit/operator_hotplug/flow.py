"""What the tests of flows begin with."""

from __future__ import annotations

from tests.unit.operator_hotplug.scene import Scene

GATES = {True: "DeclarativeHotplugVolumes", False: "HotplugVolumes"}


def reason(scene: Scene, name: str = "data") -> str:
    return str(scene.condition(name).get("reason"))


def phase(scene: Scene, name: str = "data") -> str:
    return str(scene.hotplugs()[name]["status"]["phase"])


async def attached(scene: Scene, **spec: object) -> None:
    await scene.hotplug("data", "data", "c2", **spec)
    await scene.settle(["c2"], rounds=12)
    assert phase(scene) == "Attached", scene.hotplugs()


async def set_strategy(scene: Scene, strategy: str) -> None:
    path = scene.virt.path("virtualmachines", "c2")
    await scene.api.merge(path, {"spec": {"runStrategy": strategy}})
    await scene.settle(["c2"], rounds=3)
