"""Whatever happens, and in which order: each VolumeHotplug ends attached, detached, or with a
reason; no disk is left that nobody owns; and what is others' is never touched."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.storage_client.api_server import ApiError
from tests.unit.operator_hotplug.kubevirt import GROUP, NODE
from tests.unit.operator_hotplug.scene import Scene
from tests.unit.operator_hotplug.users import CLAIMS, HOTPLUGS, NAMESPACE, NODES, PARTS, RESTORED

CLAIM_NAMES = ("a", "b")
MACHINES = ("m1", "m2")
HOTPLUG_NAMES = ("h1", "h2", "h3")
KINDS = ("hotplugs", "machines", "instances", "kubevirts", "claims", "attachments", "classes")
SERIALS = {claim: names.serial(f"0123abcd-{claim}")[:20] for claim in CLAIM_NAMES}
THEIRS = "theirs"

STRATEGIES = ("Always", "Halted")
CHANGES = (
    "make claim",
    "make claim that waits for its user",
    "delete claim",
    "make machine",
    "delete machine",
    "restore",
    *STRATEGIES,
)
HAPPENINGS = (
    "guest holds or lets go",
    "virt-api goes or comes",
    "KubeVirt is unavailable",
    "node gone",
    "operator restarted",
    "an answer is late",
    "time passes",
    "machine moves",
    "attachment pods are made anew",
)

SETTINGS = settings(
    # New ones are looked for by hand, with more: what a change broke must fail each time.
    derandomize=True,
    # A smaller one is looked for by hand, too: it takes minutes.
    phases=[Phase.generate],
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)

claims = st.sampled_from(CLAIM_NAMES)
machines = st.sampled_from(MACHINES)
hotplugs = st.sampled_from(HOTPLUG_NAMES)
pauses = st.sampled_from([5, 31, 61])


class Sequences(RuleBasedStateMachine):
    """What users, KubeVirt and the operator may do next."""

    is_declarative = True

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.scene = Scene(is_declarative=self.is_declarative)
        self.scene.on_release = self.check_released
        self.unfinished: set[tuple[str, str]] = set()
        """Machines and claims of which it was said that a disk may be left."""

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
        self.scene.provisions = True
        self.do(self.scene.storage_class())
        self.do(self.scene.claim(CLAIM_NAMES[0]))
        self.do(self.scene.unused_claim(CLAIM_NAMES[1]))
        for machine in MACHINES:
            self.do(self.scene.machine(machine))
        self.do(self.scene.settle(list(MACHINES), 3))

    # Few rules, so that each comes often: what may go wrong is one of many in a single one.

    @rule(name=hotplugs, claim=claims, machine=machines)
    def make_hotplug(self, name: str, claim: str, machine: str) -> None:
        self.attempt(self.scene.hotplug(name, claim, machine))

    @rule(name=hotplugs, force=st.booleans())
    def delete_hotplug(self, name: str, *, force: bool) -> None:
        if force:
            self.attempt(self.scene.api.merge(f"{HOTPLUGS}/{name}", {"spec": {"force": True}}))
        self.attempt(self.scene.api.delete(f"{HOTPLUGS}/{name}"))

    @rule(
        machine=machines,
        claim=claims,
        what=st.sampled_from(["add", "remove", "reset", "request", "give", "take"]),
    )
    def others(self, machine: str, claim: str, what: str) -> None:
        """Others edit machines: by hand, by a tool that applies a manifest again, by virtctl."""
        if what == "reset":
            self.attempt(self.scene.edit(machine, "remove", claim, claim, ""))
        elif what == "request" and not self.is_declarative:
            self.attempt(self.scene.request(machine, f"theirs-{claim}", claim, THEIRS))
        elif what == "give" and not self.is_declarative:
            self.attempt(self.scene.give_instance(machine, f"theirs-{claim}", claim))
        elif what == "take":
            self.attempt(self.scene.take_from_instance(machine, f"theirs-{claim}"))
        elif what != "give":
            verb = "remove" if what == "remove" else "add"
            self.attempt(self.scene.edit(machine, verb, f"theirs-{claim}", claim, THEIRS))

    @rule(machine=machines, rounds=st.integers(1, 4))
    def kubevirt_works(self, machine: str, rounds: int) -> None:
        for _ in range(rounds):
            self.do(self.scene.virt.control(machine))
            self.do(self.scene.virt.handle(machine))

    @rule(what=st.sampled_from(CHANGES), claim=claims, machine=machines)
    def users_change(self, what: str, claim: str, machine: str) -> None:
        path = self.scene.virt.path("virtualmachines", machine)
        match what:
            case "make claim":
                self.attempt(self.scene.claim(claim))
            case "make claim that waits for its user":
                self.attempt(self.scene.unused_claim(claim))
            case "delete claim":
                self.attempt(self.scene.api.delete(f"{CLAIMS}/{claim}"))
            case "make machine":
                self.attempt(self.scene.machine(machine))
            case "delete machine":
                self.attempt(self.scene.api.delete(path))
            case "restore":
                self.users_change("Halted", claim, machine)
                self.kubevirt_works(machine, 2)
                self.attempt(self.scene.restore(machine, claim))
            case strategy:
                self.attempt(self.scene.api.merge(path, {"spec": {"runStrategy": strategy}}))

    @rule(what=st.sampled_from(HAPPENINGS), claim=claims, machine=machines, seconds=pauses)
    def happens(self, what: str, claim: str, machine: str, seconds: int) -> None:
        scene = self.scene
        match what:
            case "guest holds or lets go":
                scene.virt.held ^= {claim}
            case "virt-api goes or comes":
                scene.virt_api_is_away = not scene.virt_api_is_away
            case "KubeVirt is unavailable":
                down = PARTS if seconds == 61 else PARTS[2:] if seconds == 31 else ()
                self.do(scene.set_available(available=False, down=down))
            case "node gone":
                self.attempt(scene.api.delete(f"{NODES}/{NODE}"))
            case "operator restarted":
                scene.restart_operator()
                self.do(scene.watch())
            case "time passes":
                self.do(scene.passes(seconds))
            case "machine moves":
                self.do(scene.virt.move(machine))
            case "attachment pods are made anew":
                scene.virt.lose_pods(machine)
            case "an answer is late":
                scene.late_by = min(2 * seconds, 119)

    # The operator. Its watches may be behind, each by itself.

    @rule(name=hotplugs, kinds=st.sets(st.sampled_from(KINDS)))
    def step(self, name: str, kinds: set[str]) -> None:
        if kinds:
            self.do(self.scene.watch(*sorted(kinds)))
        self.do(self.scene.step(name))

    @rule()
    def all_step(self) -> None:
        self.do(self.scene.watch())
        for name in HOTPLUG_NAMES:
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

    def check_released(self, hotplug: dict[str, Any], events: list[str]) -> None:
        """When a VolumeHotplug goes without a warning, its disk is gone, or another's."""
        claim, machine = hotplug["spec"]["claimName"], hotplug["spec"]["virtualMachineName"]
        others = [
            each
            for each in self.scene.hotplugs().values()
            if each["metadata"]["uid"] != hotplug["metadata"]["uid"]
            and (each["spec"]["claimName"], each["spec"]["virtualMachineName"]) == (claim, machine)
        ]
        if "DetachUnfinished" in events:
            self.unfinished.add((machine, claim))
        if (machine, claim) in self.unfinished or others:
            return
        assert (claim, SERIALS[claim]) not in self.scene.entries(machine), "a machine asks for it"
        assert not self.requested(machine, claim), "KubeVirt will add it yet"
        has_node = self.node_of(machine) in self.nodes()
        has_machine = (GROUP, NAMESPACE, "virtualmachines", machine) in self.scene.api.objects
        if has_node and has_machine:
            names_in_guest = self.scene.names_in_guest(machine)
            assert claim not in names_in_guest, "the guest has it still"

    def nodes(self) -> list[str]:
        return [key[3] for key in self.scene.api.objects if key[2] == "nodes"]

    def node_of(self, machine: str) -> str:
        """Where a machine runs; else the one where it would start."""
        key = (GROUP, NAMESPACE, "virtualmachineinstances", machine)
        status = self.scene.api.objects.get(key, {}).get("status", {})
        return str(status.get("nodeName", NODE))

    def requested(self, machine: str, claim: str) -> bool:
        return any(
            each["addVolumeOptions"]["disk"].get("serial") == SERIALS[claim]
            for each in self.scene.requests(machine)
            if "addVolumeOptions" in each
        )

    @invariant()
    def each_is_attached_once(self) -> None:
        for machine in MACHINES:
            serials = [serial for _, serial in self.scene.entries(machine)]
            ours = [each for each in serials if each in SERIALS.values()]
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
        scene.virt_api_is_away, scene.virt.held, scene.late_by = False, set(), None
        with contextlib.suppress(ApiError):
            await scene.api.create(NODES, {"metadata": {"name": NODE}})
        await scene.set_available(available=True)
        # Longer than what is late may take.
        await scene.settle(list(MACHINES), rounds=60)
        for machine in MACHINES:
            await self._unblock(machine)
        await scene.settle(list(MACHINES))
        # While something happens it is seldom attached for long.
        for machine in MACHINES:
            await scene.virt.move(machine)
        await scene.settle(list(MACHINES), rounds=3)
        self.each_is_attached_once()
        for name in scene.hotplugs():
            self.check_ended(name)
        for name in list(scene.hotplugs()):
            await scene.api.delete(f"{HOTPLUGS}/{name}")
        await scene.settle(list(MACHINES))
        assert scene.hotplugs() == {}
        self.check_no_disk_is_left()

    async def _unblock(self, machine: str) -> None:
        """Where two asked to add one claim, KubeVirt tries the second request for ever, before all
        later ones, and takes back neither: the machine is restarted."""
        if self.scene.requests(machine):
            path = self.scene.virt.path("virtualmachineinstances", machine)
            await self.scene.api.delete(path)

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
            status = found["status"]
            told = status["node"], status["attachmentPod"]
            where = self.scene.is_where(spec["virtualMachineName"], status["volumeName"])
            assert told == where

    def expected(self, name: str, claim: str, machine: str) -> set[str]:
        """The reasons that can be true, of what there is to see."""
        found = self.scene.api.objects.get((GROUP, NAMESPACE, "virtualmachines", machine))
        rivals = [
            each["spec"]["virtualMachineName"]
            for other, each in self.scene.hotplugs().items()
            if other != name and each["spec"]["claimName"] == claim
        ]
        expected = {"Duplicate"} if machine in rivals else set()
        if found is None:
            return expected | {"VirtualMachineNotFound"}
        key = ("/api/v1", NAMESPACE, "persistentvolumeclaims", claim)
        has_entry = any(each[0] == claim for each in self.scene.entries(machine))
        has_entry |= claim in self.scene.given_by_others(machine)
        if not has_entry:
            if key not in self.scene.api.objects:
                expected.add("ClaimNotFound")
            elif "volumeName" not in self.scene.api.objects[key]["spec"]:
                runs = found["spec"]["runStrategy"] == "Always"
                expected |= {"ClaimNotBound"} if rivals or not runs else set()
            expected |= {"ClaimInUse"} if set(rivals) - {machine} else set()
            moved = (f"{RESTORED}{claim}", SERIALS[claim]) in self.scene.entries(machine)
            return expected | ({"VolumeMoved", "SerialInUse"} if moved else set())
        expected |= set() if key in self.scene.api.objects else {"ClaimNotFound"}
        if found["spec"]["runStrategy"] != "Always":
            return expected | {"VirtualMachineStopped"}
        late = set() if self.is_declarative else {"RestartRequired"}
        return expected | late | {"Attached", "AttachedByOthers"}

    def check_no_disk_is_left(self) -> None:
        for machine in MACHINES:
            entries = self.scene.entries(machine)
            ours = [claim for claim, serial in entries if serial == SERIALS.get(claim)]
            in_guest = [
                name for name in self.scene.names_in_guest(machine) if not name.startswith("theirs")
            ]
            left = {(machine, each) for each in [*ours, *in_guest]} - self.unfinished
            assert not left, f"{left}: disks that nobody owns"


class Imperative(Sequences):
    is_declarative = False


@pytest.mark.parametrize("way", [Sequences, Imperative])
def test_every_sequence_ends_well(way: type[Sequences]) -> None:
    run_state_machine_as_test(way, settings=SETTINGS)
