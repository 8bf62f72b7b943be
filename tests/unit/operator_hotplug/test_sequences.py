"""Whatever happens, and in which order: each VolumeHotplug ends attached, detached, or with a
reason; no disk is left that nobody owns; and what is others' is never touched."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.storage_client.api_server import ApiError
from tests.unit.operator_hotplug.kubevirt import GROUP, NODE, hotpluggable
from tests.unit.operator_hotplug.scene import CLAIMS, HOTPLUGS, NAMESPACE, NODES, Scene

CLAIM_NAMES = ("a", "b")
MACHINES = ("m1", "m2")
HOTPLUG_NAMES = ("h1", "h2", "h3")
KINDS = ("hotplugs", "machines", "instances", "kubevirts", "claims", "attachments")
SERIALS = {claim: names.serial(f"0123abcd-{claim}")[:20] for claim in CLAIM_NAMES}
THEIRS = "theirs"

claims = st.sampled_from(CLAIM_NAMES)
machines = st.sampled_from(MACHINES)
hotplugs = st.sampled_from(HOTPLUG_NAMES)


class Sequences(RuleBasedStateMachine):
    """What users, KubeVirt and the operator may do next."""

    is_declarative = True

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.scene = Scene(is_declarative=self.is_declarative)
        self.scene.on_release = self.check_released

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401
        return self.runner.run(work)

    def attempt(self, work: Coroutine[Any, Any, Any]) -> None:
        """What may be refused, as it is there already, or no more, or cannot be asked for."""
        with contextlib.suppress(ApiError):
            self.do(work)

    @initialize()
    def begin(self) -> None:
        gate = "DeclarativeHotplugVolumes" if self.is_declarative else "HotplugVolumes"
        self.do(self.scene.kubevirt(gate))
        for claim in CLAIM_NAMES:
            self.do(self.scene.claim(claim))
        for machine in MACHINES:
            self.do(self.scene.machine(machine))
        self.do(self.scene.settle(list(MACHINES), 3))

    # Users.

    @rule(name=hotplugs, claim=claims, machine=machines)
    def make_hotplug(self, name: str, claim: str, machine: str) -> None:
        self.attempt(self.scene.hotplug(name, claim, machine))

    @rule(name=hotplugs)
    def delete_hotplug(self, name: str) -> None:
        self.attempt(self.scene.api.delete(f"{HOTPLUGS}/{name}"))

    @rule(name=hotplugs)
    def force(self, name: str) -> None:
        self.attempt(self.scene.api.merge(f"{HOTPLUGS}/{name}", {"spec": {"force": True}}))

    @rule(claim=claims)
    def make_claim(self, claim: str) -> None:
        self.attempt(self.scene.claim(claim))

    @rule(claim=claims)
    def delete_claim(self, claim: str) -> None:
        self.attempt(self.scene.api.delete(f"{CLAIMS}/{claim}"))

    @rule(machine=machines)
    def make_machine(self, machine: str) -> None:
        self.attempt(self.scene.machine(machine))

    @rule(machine=machines)
    def delete_machine(self, machine: str) -> None:
        self.attempt(self.scene.api.delete(self.scene.virt.path("virtualmachines", machine)))

    @rule(machine=machines, strategy=st.sampled_from(["Always", "Halted"]))
    def start_or_stop(self, machine: str, strategy: str) -> None:
        path = self.scene.virt.path("virtualmachines", machine)
        self.attempt(self.scene.api.merge(path, {"spec": {"runStrategy": strategy}}))

    @rule(machine=machines, claim=claims)
    def others_add(self, machine: str, claim: str) -> None:
        self.attempt(self.scene.edit(machine, "add", f"theirs-{claim}", claim, THEIRS))

    @rule(machine=machines, claim=claims)
    def others_remove(self, machine: str, claim: str) -> None:
        self.attempt(self.scene.edit(machine, "remove", f"theirs-{claim}", claim, ""))

    @rule(machine=machines)
    def reset_to_the_manifest(self, machine: str) -> None:
        """As tools do that apply a machine's manifest again and again."""
        for claim in CLAIM_NAMES:
            self.attempt(self.scene.edit(machine, "remove", claim, claim, ""))

    # KubeVirt.

    @rule(machine=machines)
    def control(self, machine: str) -> None:
        self.do(self.scene.virt.control(machine))

    @rule(machine=machines)
    def handle(self, machine: str) -> None:
        self.do(self.scene.virt.handle(machine))

    @rule(claim=claims)
    def hold(self, claim: str) -> None:
        self.scene.virt.held ^= {claim}

    @rule(away=st.booleans())
    def virt_api(self, *, away: bool) -> None:
        self.scene.virt_api_is_away = away

    @rule(available=st.booleans())
    def availability(self, *, available: bool) -> None:
        condition = {"type": "Available", "status": str(available)}
        path = f"{GROUP}/namespaces/kubevirt/kubevirts/kubevirt/status"
        self.do(self.scene.api.merge(path, {"status": {"conditions": [condition]}}))

    @rule()
    def lose_node(self) -> None:
        self.attempt(self.scene.api.delete(f"{NODES}/{NODE}"))

    # The operator. Its watches may be behind, each by itself.

    @rule(name=hotplugs, kinds=st.sets(st.sampled_from(KINDS)))
    def step(self, name: str, kinds: set[str]) -> None:
        if kinds:
            self.do(self.scene.watch(*sorted(kinds)))
        self.do(self.scene.step(name))

    @rule(name=hotplugs)
    def step_for_what_is_deleted(self, name: str) -> None:
        """The operator sees that it is, and not yet what became of what it did before."""
        self.attempt(self.scene.api.delete(f"{HOTPLUGS}/{name}"))
        self.do(self.scene.watch("hotplugs"))
        self.do(self.scene.step(name))

    @rule(rounds=st.integers(1, 8))
    def all_work(self, rounds: int) -> None:
        self.do(self.scene.settle(list(MACHINES), rounds))

    @rule()
    def restart_operator(self) -> None:
        self.scene.restart_operator()
        self.do(self.scene.watch())

    @precondition(lambda self: self.scene.hotplugs())
    @rule(seconds=st.sampled_from([5, 31, 61]))
    def time_passes(self, seconds: int) -> None:
        self.scene.now += dt.timedelta(seconds=seconds)

    def check_released(self, hotplug: dict[str, Any], events: list[str]) -> None:
        """When a VolumeHotplug goes without a warning, its disk is gone, or another's."""
        claim, machine = hotplug["spec"]["claimName"], hotplug["spec"]["virtualMachineName"]
        others = [
            each
            for each in self.scene.hotplugs().values()
            if each["metadata"]["uid"] != hotplug["metadata"]["uid"]
            and (each["spec"]["claimName"], each["spec"]["virtualMachineName"]) == (claim, machine)
        ]
        if "DetachUnfinished" in events or others:
            return
        assert (claim, SERIALS[claim]) not in self.scene.entries(machine), "a machine asks for it"
        assert not self.requested(machine, claim), "KubeVirt will add it yet"
        has_node = ("/api/v1", "", "nodes", NODE) in self.scene.api.objects
        has_machine = (GROUP, NAMESPACE, "virtualmachines", machine) in self.scene.api.objects
        if has_node and has_machine:
            names_in_guest = self.scene.names_in_guest(machine)
            assert claim not in names_in_guest, "the guest has it still"

    def requested(self, machine: str, claim: str) -> bool:
        key = (GROUP, NAMESPACE, "virtualmachines", machine)
        status = self.scene.api.objects.get(key, {}).get("status", {})
        return any(
            each["addVolumeOptions"]["disk"].get("serial") == SERIALS[claim]
            for each in status.get("volumeRequests", [])
            if "addVolumeOptions" in each
        )

    @invariant()
    def each_is_attached_once(self) -> None:
        for machine in MACHINES:
            ours = [each for each in self.scene.entries(machine) if each[1] in SERIALS.values()]
            assert len(ours) == len(set(ours)), machine

    def teardown(self) -> None:
        """All is well again: what is to be attached is, and what is deleted goes."""
        try:
            if self.scene.api.objects:
                self.do(self._end())
        finally:
            self.runner.close()

    async def _end(self) -> None:
        scene = self.scene
        scene.virt_api_is_away, scene.virt.held = False, set()
        path = f"{GROUP}/namespaces/kubevirt/kubevirts/kubevirt/status"
        available = {"type": "Available", "status": "True"}
        with contextlib.suppress(ApiError):
            await scene.api.create(NODES, {"metadata": {"name": NODE}})
        await scene.api.merge(path, {"status": {"conditions": [available]}})
        await scene.settle(list(MACHINES))
        self.each_is_attached_once()
        for name in scene.hotplugs():
            self.check_ended(name)
        for name in list(scene.hotplugs()):
            await scene.api.delete(f"{HOTPLUGS}/{name}")
        await scene.settle(list(MACHINES))
        assert scene.hotplugs() == {}
        self.check_no_disk_is_left()

    def check_ended(self, name: str) -> None:
        found = self.scene.hotplugs()[name]
        assert "deletionTimestamp" not in found["metadata"], f"{name} does not end"
        condition = self.scene.condition(name)
        assert condition["message"], name
        reason, spec = condition["reason"], found["spec"]
        expected = self.expected(name, spec["claimName"], spec["virtualMachineName"])
        assert reason in expected, f"{name}: {condition}, not one of {expected}"
        if reason == "Attached":
            assert spec["claimName"] in self.scene.guest_has(spec["virtualMachineName"])

    def expected(self, name: str, claim: str, machine: str) -> set[str]:
        """The reasons that can be true, of what there is to see."""
        key = (GROUP, NAMESPACE, "virtualmachines", machine)
        found = self.scene.api.objects.get(key)
        rivals = [
            each["spec"]["virtualMachineName"]
            for other, each in self.scene.hotplugs().items()
            if other != name and each["spec"]["claimName"] == claim
        ]
        expected = {"Duplicate"} if machine in rivals else set()
        if found is None:
            return expected | {"VirtualMachineNotFound"}
        has_entry = any(each[0] == claim for each in self.scene.entries(machine))
        if not has_entry:
            has_claim = ("/api/v1", NAMESPACE, "persistentvolumeclaims", claim) in (
                self.scene.api.objects
            )
            expected |= set() if has_claim else {"ClaimNotFound"}
            return expected | ({"ClaimInUse"} if set(rivals) - {machine} else set())
        if found["spec"]["runStrategy"] != "Always":
            return expected | {"VirtualMachineStopped"}
        late = set() if self.is_declarative else {"RestartRequired"}
        return expected | late | {"Attached", "AttachedByOthers"}

    def check_no_disk_is_left(self) -> None:
        for machine in MACHINES:
            ours = [each for each in self.scene.entries(machine) if each[1] in SERIALS.values()]
            key = (GROUP, NAMESPACE, "virtualmachineinstances", machine)
            instance = self.scene.api.objects.get(key, {"spec": {"volumes": []}})
            names_left = [
                each["name"]
                for each in instance["spec"]["volumes"]
                if hotpluggable(each) and not each["name"].startswith("theirs")
            ]
            assert (ours, names_left) == ([], []), f"{machine} has a disk that nobody owns"


class Imperative(Sequences):
    is_declarative = False


@pytest.mark.parametrize("way", [Sequences, Imperative], ids=["declarative", "imperative"])
def test_every_sequence_ends_well(way: type[Sequences]) -> None:
    run_state_machine_as_test(
        way,
        settings=settings(
            max_examples=60,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
