"""A cluster in memory with a simulated KubeVirt, its users, and the operator, which sees what its
watches last told it."""

from __future__ import annotations

import contextlib
import copy
import datetime as dt
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, cast

from csi_lvm_iscsi.model.errors import Unavailable
from csi_lvm_iscsi.operator.hotplug import objects
from csi_lvm_iscsi.operator.hotplug.cluster import Cluster
from csi_lvm_iscsi.operator.hotplug.objects import serial_of
from csi_lvm_iscsi.operator.hotplug.reconciler import Reconciler, _Memory
from csi_lvm_iscsi.storage_client.api_server import ApiError, ApiServer
from tests.unit.operator_hotplug.kubevirt import (
    GROUP,
    KubeVirt,
    apply_request,
    check_removal,
    claim_of,
    hotpluggable,
)
from tests.unit.operator_hotplug.memory_api import MemoryApi, Place
from tests.unit.operator_hotplug.users import (
    HOTPLUGS,
    NAMESPACE,
    RESTORED,
    Users,
    entries_of,
    serials,
)

Object = dict[str, Any]
_START = dt.datetime(2026, 11, 28, tzinfo=dt.UTC)


class Scene(Users):
    """All of it."""

    def __init__(self, *, is_declarative: bool) -> None:
        self.now = _START
        self.api = MemoryApi(lambda: self.now)
        self.virt = KubeVirt(self.api, NAMESPACE, is_declarative=is_declarative)
        self.api.admit = self._admit
        self.api.subresource = self._subresource
        self.api.before_patch = self._before_patch
        self.virt_api_is_away = False
        self.provisions = False
        """Whether volumes are made while all work."""

        self.late_by: float | None = None
        """After so many seconds the operator's next request to add a volume is done, unanswered."""

        self.late: list[tuple[dt.datetime, Callable[[], Any]]] = []
        self.taken_out: list[tuple[str, str]] = []
        """What the operator took out of machines: the machine, and the serial number of the disk.
        """

        self.on_release: Callable[[Object, list[str]], None] = lambda _hotplug, _events: None
        """Called when the operator has let a VolumeHotplug go, with it as it was and the Events
        that it made of that."""

        self.reconciler = self._operator()

    def _operator(self) -> Reconciler:
        cluster = Cluster(cast("ApiServer", self.api))
        return Reconciler(cluster, lambda: self.now)

    # What KubeVirt's API does.

    def _admit(self, place: Place, made: Object) -> None:
        if place.plural == "virtualmachines" and not place.part:
            if self.virt_api_is_away:
                raise ApiError(HTTPStatus.INTERNAL_SERVER_ERROR, "failed calling webhook")
            spec = made["spec"]["template"]["spec"]
            names = [each["name"] for each in spec["volumes"]]
            disks = [each["name"] for each in spec["domain"]["devices"]["disks"]]
            if len(set(names)) != len(names) or sorted(names) != sorted(disks):
                raise ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, "admission webhook denied it")

    def _before_patch(self, path: str, operations: Sequence[Object]) -> None:
        is_addition = "/virtualmachines/" in path and operations[-1]["op"] == "add"
        if is_addition and self.late_by is not None:
            self._delay(lambda: self.api.patch(path, operations))

    def _delay(self, work: Callable[[], Any]) -> None:
        self.late.append((self.now + dt.timedelta(seconds=self.late_by or 0), work))
        self.late_by = None
        raise Unavailable("The API server does not answer within 5 seconds.")

    async def passes(self, seconds: float) -> None:
        """Time passes, and what is late by then is done."""
        self.now += dt.timedelta(seconds=seconds)
        due = [work for at, work in self.late if at <= self.now]
        self.late = [each for each in self.late if each[0] > self.now]
        late_by, self.late_by = self.late_by, None
        for work in due:
            with contextlib.suppress(ApiError):
                if (done := work()) is not None:
                    await done
        self.late_by = late_by

    def _subresource(self, place: Place, body: Object) -> None:
        """Only the operator calls these; users call `virtctl`."""
        if place.part == "addvolume" and self.late_by is not None:
            self._delay(lambda: self._subresource(place, body))
        if self.virt_api_is_away:
            raise ApiError(HTTPStatus.SERVICE_UNAVAILABLE, "no endpoints available")
        if self.virt.is_declarative:
            raise AssertionError("a subresource was called where machines are to be edited")
        if place.plural == "virtualmachineinstances":
            instance = self.api.objects[(GROUP, NAMESPACE, place.plural, place.name)]
            check_removal(instance["spec"]["volumes"], body["name"])
            self.taken_out.append((place.name, serials(instance["spec"])[body["name"]]))
            made = copy.deepcopy(instance)
            apply_request(made["spec"], {"removeVolumeOptions": body})
            self._put(instance, made)
            return
        machine = self._machine(place.name)
        numbers = serials(machine["spec"]["template"]["spec"])
        status = self.virt.request(machine, place.part, body)
        if place.part == "removevolume":
            self.taken_out.append((place.name, numbers[body["name"]]))
        self._put(machine, {**machine, "status": status})

    # What the operator does.

    def restart_operator(self) -> None:
        """It forgets all, and has seen nothing yet."""
        self.reconciler = self._operator()

    async def watch(self, *kinds: str) -> None:
        """The watches of these kinds tell what is there now; without any, all do."""
        cluster = self.reconciler.cluster
        for kind in kinds or (
            "hotplugs",
            "machines",
            "instances",
            "kubevirts",
            "claims",
            "attachments",
            "classes",
        ):
            await getattr(cluster, kind)._list()

    async def step(self, name: str) -> float | None:
        """One step of a VolumeHotplug, and kopf's part after it; the seconds to the next."""
        key = f"{NAMESPACE}/{name}"
        found = self.hotplugs().get(name)
        if found is None:
            return None
        found = copy.deepcopy(found)
        memory = self.reconciler._memories.setdefault(key, _Memory())
        patches, taken, events = len(self.api.patches), len(self.taken_out), len(self.events())
        is_deleted = "deletionTimestamp" in found["metadata"]
        step = self.reconciler._detach if is_deleted else self.reconciler._attach
        seconds = await self.reconciler._locked(key, memory, step)
        for place, operations, old in self.api.patches[patches:]:
            if place.plural == "virtualmachines":
                self._note(place, operations, old)
        for machine, serial in self.taken_out[taken:]:
            self._check_taken_out(found, machine, serial)
        if seconds is None:
            self.reconciler._memories.pop(key, None)
            self.on_release(found, self.events()[events:])
            await self._let_go(name)
        return seconds

    def _check_taken_out(self, hotplug: Object, machine: str, serial: str) -> None:
        """A disk is taken out for a VolumeHotplug of it that is deleted, and has no elder."""
        spec, metadata = hotplug["spec"], hotplug["metadata"]
        assert "deletionTimestamp" in metadata, "taken out of a machine without being deleted"
        ours = serial_of(f"0123abcd-{spec['claimName']}")
        assert (machine, serial) == (spec["virtualMachineName"], ours), "it took out another disk"
        others = (each for each in self.hotplugs().values() if not _is_same(each, hotplug))
        for each in others:
            is_elder = _age(each) < _age(hotplug)
            assert not (is_elder and _of_the_same(each, hotplug)), "it took out its elder's disk"

    def _note(self, place: Place, operations: Any, old: Object) -> None:  # noqa: ANN401
        spec = old["spec"]["template"]["spec"]
        for each in operations:
            if each["op"] == "remove" and "/volumes/" in each["path"]:
                volume = spec["volumes"][int(each["path"].rpartition("/")[2])]
                assert hotpluggable(volume), "a volume that is part of the machine was taken out"
                self.taken_out.append((place.name, serials(spec)[volume["name"]]))

    async def _let_go(self, name: str) -> None:
        found = self.hotplugs().get(name)
        if found and "deletionTimestamp" in found["metadata"]:
            made = copy.deepcopy(found)
            made["metadata"]["finalizers"] = []
            await self.api.replace(f"{HOTPLUGS}/{name}", made)

    # What there is to see.

    def hotplugs(self) -> dict[str, Object]:
        return {key[3]: each for key, each in self.api.objects.items() if key[2] == objects.PLURAL}

    def condition(self, name: str, kind: str = "Attached") -> Object:
        found = self.hotplugs()[name].get("status", {}).get("conditions", [])
        return next((each for each in found if each["type"] == kind), {})

    def events(self) -> list[str]:
        return [each["reason"] for key, each in self.api.objects.items() if key[2] == "events"]

    def last_event(self) -> tuple[str, str]:
        """Its reason and its words."""
        *_, last = (each for key, each in self.api.objects.items() if key[2] == "events")
        return last["reason"], last["message"]

    def entries(self, machine: str) -> list[tuple[str, str]]:
        """The hot-pluggable volumes that a machine asks for: claim and serial number."""
        key = (GROUP, NAMESPACE, "virtualmachines", machine)
        return (
            entries_of(self.api.objects[key]["spec"]["template"]["spec"])
            if key in self.api.objects
            else []
        )

    def requests(self, machine: str) -> list[Object]:
        """Those of a machine that virt-controller has not yet worked on."""
        key = (GROUP, NAMESPACE, "virtualmachines", machine)
        status = self.api.objects.get(key, {}).get("status", {})
        return list(status.get("volumeRequests", []))

    def given_by_others(self, machine: str) -> list[str]:
        """The claims of the volumes of an instance that are named as others name theirs."""
        key = (GROUP, NAMESPACE, "virtualmachineinstances", machine)
        spec = self.api.objects.get(key, {}).get("spec", {})
        volumes = [each for each in spec.get("volumes", []) if each["name"].startswith("theirs")]
        return [claim_of(each) for each in volumes]

    def guest_has(self, machine: str) -> list[str]:
        """The claims of the hot-plugged disks that a guest sees."""
        key = (GROUP, NAMESPACE, "virtualmachineinstances", machine)
        statuses = self.api.objects.get(key, {}).get("status", {}).get("volumeStatus", [])
        return [
            each["persistentVolumeClaimInfo"]["claimName"]
            for each in statuses
            if "hotplugVolume" in each and each["phase"] == "Ready"
        ]

    def is_where(self, machine: str, volume: str) -> tuple[str, str]:
        """The node of an instance, and the attachment pod of one of its volumes."""
        key = (GROUP, NAMESPACE, "virtualmachineinstances", machine)
        status = self.api.objects[key]["status"]
        pods = {each["name"]: each.get("hotplugVolume", {}) for each in status["volumeStatus"]}
        return status["nodeName"], pods[volume]["attachPodName"]

    def names_in_guest(self, machine: str) -> list[str]:
        """The names of the hot-plugged volumes that an instance has, or still has, but for those
        that were restored."""
        key = (GROUP, NAMESPACE, "virtualmachineinstances", machine)
        instance = self.api.objects.get(key, {"spec": {"volumes": []}})
        statuses = instance.get("status", {}).get("volumeStatus", [])
        plugged = [each for each in instance["spec"]["volumes"] if hotpluggable(each)]
        found = [(each["name"], claim_of(each)) for each in plugged]
        found += [
            (each["name"], each["persistentVolumeClaimInfo"]["claimName"])
            for each in statuses
            if "hotplugVolume" in each
        ]
        return [name for name, claim in found if not claim.startswith(RESTORED)]

    async def settle(self, machines: list[str], rounds: int = 40) -> None:
        """Everybody works, until nothing changes any more."""
        for _ in range(rounds):
            await self.watch()
            for name in list(self.hotplugs()):
                await self.step(name)
            for machine in machines:
                await self.virt.control(machine)
                await self.virt.handle(machine)
            if self.provisions:
                await self.provision()
            await self.passes(3)


def _age(hotplug: Object) -> tuple[str, bool, str]:
    metadata = hotplug["metadata"]
    has_disk = "serial" in hotplug.get("status", {})
    return metadata["creationTimestamp"], not has_disk, metadata["name"]


def _is_same(one: Object, other: Object) -> bool:
    return bool(one["metadata"]["uid"] == other["metadata"]["uid"])


def _of_the_same(one: Object, other: Object) -> bool:
    fields = ("claimName", "virtualMachineName")
    return all(one["spec"][field] == other["spec"][field] for field in fields)
