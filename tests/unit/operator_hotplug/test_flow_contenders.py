"""Flows of several of one claim, or of one serial number."""

from __future__ import annotations

import asyncio

import pytest

from csi_lvm_iscsi.operator.hotplug.objects import serial_of
from tests.unit.operator_hotplug.flow import attached, phase, reason
from tests.unit.operator_hotplug.scene import Scene
from tests.unit.operator_hotplug.users import CLAIMS, HOTPLUGS, VOLUMES

Object = dict[str, object]


@pytest.mark.parametrize(("other", "refusal"), [("c1", "ClaimInUse"), ("c2", "Duplicate")])
async def test_of_two_of_one_second_one_is_attached(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, other: str, refusal: str
) -> None:
    """Also where the second comes, first by name, while the first asks who else uses the claim."""
    await scene.machine("c1")
    await scene.settle(["c1", "c2"], rounds=5)
    get = scene.api.get
    second: list[asyncio.Task[float | None]] = []

    async def get_slowly(path: str, **query: str) -> Object:
        if path.endswith("/pods") and not second:
            await scene.hotplug("a", "data", other)
            await scene.watch("hotplugs")
            second.append(asyncio.create_task(scene.step("a")))
            await second[0]
        return await get(path, **query)

    monkeypatch.setattr(scene.api, "get", get_slowly)
    await scene.hotplug("z", "data", "c2")
    await scene.watch()
    await scene.step("z")
    assert second
    await scene.settle(["c1", "c2"], rounds=12)
    assert (phase(scene, "z"), scene.entries("c1")) == ("Attached", [])
    assert reason(scene, "a") == refusal
    await scene.api.delete(f"{HOTPLUGS}/z")
    await scene.settle(["c1", "c2"], rounds=20)
    assert phase(scene, "a") == "Attached"
    assert len([*scene.entries("c1"), *scene.entries("c2")]) == 1


async def test_who_waits_for_a_pod_keeps_nobody_off(scene: Scene) -> None:
    """Begun and held up again: the first by name is the eldest of that second, as before."""
    await scene.machine("c1")
    pods = "/api/v1/namespaces/default/pods"
    volumes = [{"persistentVolumeClaim": {"claimName": "data"}}]
    await scene.api.create(pods, {"metadata": {"name": "web-0"}, "spec": {"volumes": volumes}})
    await scene.hotplug("z", "data", "c2")
    await scene.watch()
    await scene.step("z")
    assert reason(scene, "z") == "ClaimInUse"
    await scene.hotplug("a", "data", "c1")
    await scene.settle(["c1", "c2"], rounds=3)
    await scene.api.merge(f"{pods}/web-0/status", {"status": {"phase": "Succeeded"}})
    await scene.settle(["c1", "c2"], rounds=16)
    assert [phase(scene, each) for each in ("a", "z")] == ["Attached", "Pending"]


@pytest.mark.parametrize("first", ["data", "old"])
async def test_a_claim_made_anew_has_the_serial_number_of_its_new_volume(
    scene: Scene, first: str
) -> None:
    await attached(scene)
    await scene.api.delete(scene.virt.path("virtualmachines", "c2"))
    await scene.settle(["c2"], rounds=5)
    await scene.api.delete(f"{CLAIMS}/data")
    for name, volume in (("data", "pv-new"), ("old", "pv-data")):
        spec = {"volumeName": volume, "accessModes": ["ReadWriteOnce"]}
        made = {"metadata": {"name": name}, "spec": spec, "status": {"phase": "Bound"}}
        await scene.api.create(CLAIMS, made)
    csi = {"csi": {"volumeHandle": "0123abcd-new"}}
    await scene.api.create(VOLUMES, {"metadata": {"name": "pv-new"}, "spec": csi})
    await scene.machine("c2")
    for _ in range(3):
        await scene.virt.control("c2")
        await scene.virt.handle("c2")
    await scene.hotplug("old", "old", "c2")
    await scene.watch()
    await scene.step(first)
    await scene.settle(["c2"], rounds=16)
    new, old = serial_of("0123abcd-new"), serial_of("0123abcd-data")
    assert sorted(scene.entries("c2")) == [("data", new), ("old", old)]
    assert [phase(scene, each) for each in ("data", "old")] == ["Attached", "Attached"]


async def test_a_serial_number_that_the_machine_has_is_refused(scene: Scene) -> None:
    await scene.claim("b")
    await attached(scene, serial="DATA")
    await scene.hotplug("b", "b", "c2", serial="DATA")
    await scene.settle(["c2"], rounds=12)
    assert scene.entries("c2") == [("data", "DATA")]
    assert (phase(scene, "b"), reason(scene, "b")) == ("Failed", "SerialInUse")
    assert "volume data of claim data" in scene.condition("b")["message"]
    await scene.api.delete(f"{HOTPLUGS}/b")
    await scene.settle(["c2"], rounds=2)
    assert (list(scene.hotplugs()), scene.last_event()[0]) == (["data"], "Detached")
