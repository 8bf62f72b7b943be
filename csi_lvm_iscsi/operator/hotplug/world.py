"""All that a decision about a VolumeHotplug is made of, as it was observed at one moment."""

import datetime as dt
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from csi_lvm_iscsi.operator.hotplug import ways
from csi_lvm_iscsi.operator.hotplug.machines import (
    Instance,
    Request,
    VirtualMachine,
    Volume,
    VolumeStatus,
)
from csi_lvm_iscsi.operator.hotplug.objects import (
    Claim,
    KubeVirt,
    Outage,
    StorageClass,
    Told,
    VolumeAttachment,
    VolumeHotplug,
    serial_of,
    time_of,
)

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class Whose(Enum):
    """To whom a volume of a machine belongs, that is of our claim."""

    OURS = auto()
    OTHERS = auto()
    """Hot-plugged by somebody, in another way."""

    MACHINES = auto()
    """Part of the machine: not hot-pluggable."""


class Action(Enum):
    """What is to be done."""

    CHOOSE_NODE = auto()
    """Have the claim's volume made for the node of the machine."""

    ADD = auto()
    """Ask KubeVirt to add the volume to the machine."""

    REMOVE = auto()
    """Ask it to take the volume out of the machine."""

    REMOVE_FROM_INSTANCE = auto()
    """Ask it to take the volume out of the instance alone: the machine has lost it already."""

    FINISH = auto()
    """Let the VolumeHotplug go."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """That what was asked for was not done: by KubeVirt, but for CHOOSE_NODE."""

    of: Action
    message: str
    is_away: bool
    """Whether it could not be asked at all."""

    is_due: bool = False
    """Whether it is to be asked again now."""

    is_unanswered: bool = False
    """Whether it may have been asked, and may do it yet."""


@dataclass(frozen=True, slots=True)
class World:
    """What is there. The watched part of it may be a moment old."""

    now: dt.datetime
    hotplug: VolumeHotplug
    older: tuple[VolumeHotplug, ...] = ()
    """Those of the same claim that were there before this one."""

    kubevirt: KubeVirt | None = None
    machine: VirtualMachine | None = None
    instance: Instance | None = None
    claim: Claim | None = None
    storage_class: StorageClass | None = None
    """The claim's."""

    attachments: tuple[VolumeAttachment, ...] = ()
    """Those of the claim's volume."""

    volume_handle: str = ""
    """The name that the driver has for the claim's volume; empty where it was not asked for."""

    told: tuple[Told, ...] = ()
    """By events."""

    users: tuple[str, ...] = ()
    """Pods that use the claim elsewhere."""

    rivals: tuple[str, ...] = ()
    """Pods of others that use the claim, on any node: looked for before KubeVirt is asked."""

    unanswered: dt.datetime | None = None
    """When KubeVirt was asked last to add the volume, where its answer is not known: it may do it
    yet."""

    outages: tuple[Outage, ...] = ()
    """Parts of KubeVirt that are down, of those that this machine needs."""

    gone_node: str = ""
    """The node of an instance, also an earlier one, where it was found to be no more."""

    refusal: Refusal | None = None

    @property
    def serial(self) -> str:
        """The serial number of our disk; empty where it is not known yet."""
        known = self.hotplug.serial_known
        return known or (serial_of(self.volume_handle) if self.volume_handle else "")

    @property
    def way(self) -> ways.Way | None:
        """How KubeVirt is asked; None where there is none, or it hot-plugs no volumes."""
        return ways.way_of(self.kubevirt) if self.kubevirt else None

    @property
    def began(self) -> dt.datetime | None:
        """When what is waited for now began: its detaching, its making, or, where it was attached
        before, when it was no more."""
        if self.hotplug.deleted:
            return time_of(self.hotplug.status.get("detachRequestedAt")) or self.hotplug.deleted_at
        conditions = self.hotplug.status.get("conditions", [])
        changed = [
            time_of(each.get("lastTransitionTime"))
            for each in conditions
            if (each["type"], each["status"]) == ("Attached", "False")
        ]
        times = (time_of(self.hotplug.created), *changed)
        return max((each for each in times if each), default=None)

    @property
    def lost_claim(self) -> str:
        """What has become of the claim where it is no more there for a machine; else empty."""
        if self.claim is None:
            return "is not there"
        return "is being deleted" if self.claim.deleted else ""

    def refused(self, action: Action) -> Refusal | None:
        """That it did not do this the last time."""
        return self.refusal if self.refusal and self.refusal.of is action else None

    @property
    def entry(self) -> Volume | None:
        """The volume of the machine that is of our claim, if it asks for it; else the one that its
        instance alone has, where that is not ours."""
        found = [each for each in self._machine_volumes() if each.claim == self.hotplug.claim]
        return min(
            found, key=lambda each: self.whose(each) is not Whose.OURS, default=self._of_instance
        )

    @property
    def _of_instance(self) -> Volume | None:
        """What somebody gave the instance without the machine (`virtctl addvolume` without
        --persist), or took out of the machine before its next start. KubeVirt adds no claim to an
        instance that has it (pkg/virt-api/rest/volumes.go: verifyVolumeOption); a request for that
        would be tried for ever, and hold up all later ones of the machine
        (pkg/virt-controller/watch/vm/vm.go: handleVolumeRequests)."""
        found = (each for each in self._running_volumes() if each.claim == self.hotplug.claim)
        return next((each for each in found if self.whose(each) is not Whose.OURS), None)

    def whose(self, volume: Volume) -> Whose:
        """Whose a volume of our claim is. That follows from the volume itself, so that it is known
        whatever was forgotten."""
        if not volume.is_hotpluggable:
            return Whose.MACHINES
        return Whose.OURS if self.serial and volume.serial == self.serial else Whose.OTHERS

    @property
    def addition(self) -> Request | None:
        """A request to add our claim that KubeVirt has not yet worked on: ours, or another's."""
        return self.our_addition or next(self._additions(), None)

    @property
    def our_addition(self) -> Request | None:
        """A request of ours to add it."""
        ours = (each for each in self._additions() if each.serial == self.serial)
        return next(ours, None) if self.serial else None

    @property
    def removal(self) -> Request | None:
        """A request to take the volume out that the machine has of our claim."""
        entry = self.entry
        found = (each for each in self._requests() if not each.adds)
        return next((each for each in found if entry and each.name == entry.name), None)

    @property
    def running(self) -> Instance | None:
        """The instance, unless its guest has ended."""
        return None if self.instance is None or self.instance.has_ended else self.instance

    @property
    def node_is_gone(self) -> bool:
        """Whether the node of the instance is no more."""
        return bool(self.gone_node and self.running and self.running.node == self.gone_node)

    def given(self, name: str) -> VolumeStatus | None:
        """What KubeVirt tells of a volume of the instance, by its name in the machine; None where
        the instance has another claim by that name: the machine was edited since it started."""
        if self.instance is None or any(
            each.name == name and each.claim != self.hotplug.claim for each in self.instance.volumes
        ):
            return None
        ours = ("", self.hotplug.claim)
        found = (each for each in self.instance.statuses if each.claim in ours)
        return next((each for each in found if each.name == name), None)

    @property
    def of_same_serial(self) -> Volume | None:
        """A volume of another claim whose disk has our serial number, which is to tell disks apart
        in the guest."""
        volumes = (*self.asked_of_machine, *self._running_volumes())
        others = (each for each in volumes if each.claim != self.hotplug.claim)
        return next((each for each in others if self.serial and each.serial == self.serial), None)

    @property
    def asked_of_machine(self) -> tuple[Volume, ...]:
        """All volumes that the machine asks for, or is about to."""
        return (*self.machine.volumes, *self.machine.to_add) if self.machine else ()

    @property
    def moved(self) -> Volume | None:
        """Our volume, where it is of another claim now: a restore of the machine
        (pkg/storage/snapshot/restore.go) and a migration of its volumes change no more of it."""
        found = self.of_same_serial
        return found if found and found.name == self.hotplug.status.get("volumeName") else None

    @property
    def asked_of_instance(self) -> Volume | None:
        """Our volume as the instance asks for it."""
        volumes = self.instance.volumes if self.instance else ()
        return next((each for each in volumes if self._is_ours(each)), None)

    @property
    def has_ours(self) -> bool:
        """Whether a volume of our claim is anywhere, or may come yet."""
        there = (self.entry, self.addition, self.asked_of_instance, self.left, self.unanswered)
        return any(each is not None for each in there)

    @property
    def left(self) -> VolumeStatus | None:
        """Of our volume, what the guest still has although the machine does not ask for it.
        KubeVirt does not tell whose it was: before we asked for one, it is not ours to wait for."""
        if self.hotplug.deleted and "serial" not in self.hotplug.status:
            return None
        others = {
            each.name
            for each in (*self._machine_volumes(), *self._running_volumes())
            if not self._is_ours(each)
        }
        recorded = self.hotplug.status.get("volumeName", "")
        for each in self.running.statuses if self.running else ():
            is_of_claim = each.claim == self.hotplug.claim or each.name == recorded
            if each.is_hotplugged and is_of_claim and each.name not in others:
                return each
        return None

    @property
    def volume_name(self) -> str:
        """The name for our volume in the machine: where its instance has it, the one that it has
        there, as KubeVirt would take no other (see `_of_instance`)."""
        taken = {each.name for each in self._machine_volumes()}
        taken |= set((self.machine.disks if self.machine else None) or ())
        taken |= {each.name for each in self._requests()}
        present = self.asked_of_instance if self.running else None
        if present and present.name not in taken:
            return present.name
        if self.instance:
            taken |= {each.name for each in self.instance.volumes if not self._is_ours(each)}
            taken |= {each.name for each in self.instance.statuses if not self._is_of_claim(each)}
        return volume_name(self.hotplug, taken)

    def _is_ours(self, volume: Volume) -> bool:
        return volume.claim == self.hotplug.claim and self.whose(volume) is Whose.OURS

    def _is_of_claim(self, status: VolumeStatus) -> bool:
        return status.is_hotplugged and status.claim == self.hotplug.claim

    def _additions(self) -> Iterator[Request]:
        return (each for each in self._requests() if each.claim == self.hotplug.claim)

    def _requests(self) -> Iterator[Request]:
        yield from self.machine.requests if self.machine else ()

    def _running_volumes(self) -> Iterator[Volume]:
        yield from self.running.volumes if self.running else ()

    def _machine_volumes(self) -> Iterator[Volume]:
        yield from self.machine.volumes if self.machine else ()


def volume_name(hotplug: VolumeHotplug, taken: set[str]) -> str:
    """That of the claim, where KubeVirt takes it and no other volume has it; else one of a hash."""
    if _LABEL.fullmatch(hotplug.claim) and hotplug.claim not in taken:
        return hotplug.claim
    return f"vhp-{hashlib.sha256(hotplug.claim.encode()).hexdigest()[:16]}"
