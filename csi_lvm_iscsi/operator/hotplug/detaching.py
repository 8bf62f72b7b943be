"""Decisions about a VolumeHotplug that is being deleted.

It ends when no machine asks for its disk and no guest has it: a disk that nobody owns would be one
that nobody takes out.
"""

import datetime as dt
from collections.abc import Iterable
from dataclasses import replace

from csi_lvm_iscsi.operator.hotplug import outages, prechecks, quotes, ways
from csi_lvm_iscsi.operator.hotplug.attaching import QUOTE_SECONDS, refused
from csi_lvm_iscsi.operator.hotplug.decision import Condition, Decision, where
from csi_lvm_iscsi.operator.hotplug.machines import Instance, VolumeStatus
from csi_lvm_iscsi.operator.hotplug.objects import time_of
from csi_lvm_iscsi.operator.hotplug.reasons import Phase, Reason
from csi_lvm_iscsi.operator.hotplug.world import Action, Whose, World

_PARTS = frozenset({outages.API, outages.CONTROLLER, outages.HANDLER})
PATIENCE_SECONDS = 30.0
"""So long a guest is given to let go, and KubeVirt to do what it was asked, before it is said that
they do not."""

LATE = dt.timedelta(seconds=125)
"""So long KubeVirt may yet do what it was asked without an answer: the API server gives a call of
virt-api 60 seconds (--request-timeout), and virt-api then patches the machine whether or not its
caller is still there (pkg/virt-api/rest/volumes.go: context.Background()), which takes 60 at most,
too."""

_LEFT = {
    Whose.OTHERS: (Reason.ATTACHED_BY_OTHERS, "somebody else attached it, in another way"),
    Whose.MACHINES: (Reason.PART_OF_MACHINE, "it is part of the machine"),
}
_AWAY_SECONDS = 60.0
"""So long a KubeVirt is waited for that says itself that it does not work, while what is needed of
it is down."""


def decide(world: World) -> Decision:
    """What is to be done to detach it."""
    decided = _decide(world)
    unfinished = Condition("Detached", status=False, reason=decided.reason, message=decided.message)
    return replace(decided, conditions=(unfinished,))


def _decide(world: World) -> Decision:
    if prechecks.duplicate(world):
        return _finished("No machine has a disk of this VolumeHotplug.")
    if world.machine is None:
        return _without_machine(world)
    entry = world.entry
    if entry and world.whose(entry) is Whose.OURS:
        return _take_out(world, entry.name)
    if world.our_addition:
        return _asked_for(world, world.our_addition.name)
    return _let_go(world)


def _without_machine(world: World) -> Decision:
    """The machine is gone. Its instance goes on where it was deleted without (--cascade=orphan)."""
    if world.running is None or not (world.asked_of_instance or world.left):
        return _unless_late(world, _finished("No machine has a disk of this VolumeHotplug."))
    if world.way is ways.Way.IMPERATIVE:
        return _let_go(world)
    message = f"VirtualMachine {world.hotplug.machine} is gone, and its instance runs on."
    return _finished(message, f"{message} Its guest may have the disk until it ends.")


def _finished(message: str, warning: str = "") -> Decision:
    return Decision(
        Phase.DETACHING, Reason.DETACHING, message, action=Action.FINISH, warning=warning
    )


def _unless_late(world: World, finished: Decision) -> Decision:
    """The same; not before what was asked without an answer can no more be done."""
    if world.unanswered is None:
        return finished
    end = world.unanswered + LATE
    if world.hotplug.force:
        return replace(
            finished,
            warning="It was let go by force: KubeVirt has not answered when it was asked to add "
            f"the volume, and may do it yet, until {end:%H:%M:%S} UTC.",
        )
    return Decision(
        Phase.DETACHING,
        Reason.DETACHING,
        "KubeVirt has not answered when it was asked to add the volume, and may do it yet. If it "
        f"does, that is undone; otherwise this ends at {end:%H:%M:%S} UTC. {_by_force(world)}",
        look_again=max(1.0, (end - world.now).total_seconds()),
    )


def _detaching(world: World, name: str, message: str) -> Decision:
    """It goes on; told with what others complain of."""
    decided = replace(where(world, name), waits=True, look_again=QUOTE_SECONDS)
    if said := quotes.complaint(world):
        return decided.told(Phase.DETACHING, Reason.DETACH_FAILING, said)
    return decided.told(Phase.DETACHING, Reason.DETACHING, message)


def _take_out(world: World, name: str) -> Decision:
    """The machine asks for it still."""
    message = f"KubeVirt is asked to take volume {name} out of the machine."
    decided = _detaching(world, name, message)
    if world.removal:
        return _awaited(world, decided)
    # What does not run is only edited, which takes no hot-plugging.
    if world.way is None and world.running:
        message = "KubeVirt hot-plugs no volumes as it is set up now, and takes none out."
        if world.kubevirt:
            message += f" {ways.enabling(world.kubevirt)}"
        return _cannot_ask(world, decided.told(Phase.DETACHING, Reason.HOTPLUG_DISABLED, message))
    if refusal := world.refused(Action.REMOVE):
        return _cannot_ask(world, refused(replace(decided, action=Action.REMOVE), refusal))
    return replace(decided, action=Action.REMOVE)


def _cannot_ask(world: World, decided: Decision) -> Decision:
    if outage := _outage(world, _PARTS, world.hotplug.deleted_at):
        return _finished(
            decided.message,
            f"KubeVirt does not work, so it was not waited for: machine {world.hotplug.machine} "
            f"still asks for the volume. ({outage})",
        )
    if world.hotplug.force:
        return _finished(
            decided.message,
            f"It was let go by force: machine {world.hotplug.machine} still asks for the volume. "
            f"({decided.message})",
        )
    return replace(_stuck(world, decided, _PARTS), waits=True)


def _stuck(world: World, decided: Decision, parts: Iterable[str]) -> Decision:
    """The same, with what is down of these parts of KubeVirt, whatever KubeVirt says of itself
    (virt-operator may be down, too), and with the way out."""
    down = [each.message for each in world.outages if each.part in parts]
    if down and world.kubevirt:
        down.append(f"See `kubectl -n {world.kubevirt.namespace} get pods`.")
        if decided.reason in (Reason.DETACHING, Reason.GUEST_HOLDS):
            decided = replace(decided, reason=Reason.DETACH_FAILING)
    return replace(decided, message=" ".join([decided.message, *down, _by_force(world)]))


def _outage(world: World, parts: Iterable[str], since: dt.datetime | None) -> str:
    """What is down of these parts of KubeVirt, and has been for so long that it is not waited for
    any more; else empty."""
    kubevirt = world.kubevirt
    if kubevirt is None or not kubevirt.unavailable:
        return ""
    for each in world.outages:
        times = (since, each.since, kubevirt.unavailable_since)
        begin = max((time for time in times if time), default=world.now)
        if each.part in parts and _passed(world, begin) >= _AWAY_SECONDS:
            return f"{each.message} KubeVirt: {kubevirt.unavailable}"
    return ""


def _asked_for(world: World, name: str) -> Decision:
    """A request to add it cannot be taken back before KubeVirt has worked on it, which it does in
    a moment (pkg/virt-api/rest/volumes.go: verifyVolumeOption)."""
    decided = _detaching(world, name, "KubeVirt still works on the request to add the volume.")
    since = _since(world)
    if _passed(world, since) >= PATIENCE_SECONDS:
        decided = _cannot_ask(world, decided)
    return replace(decided, detach_requested=since)


def _let_go(world: World) -> Decision:
    """The machine does not ask for it any more. The guest may still have it."""
    running, asked, left = world.running, world.asked_of_instance, world.left
    if running is None or not (asked or left):
        return _unless_late(world, _left_there(world))
    if world.node_is_gone:
        message = f"Node {running.node}, where the machine ran, is gone."
        return _finished(message, f"{message} If it runs still, its guest may have the disk.")
    name = asked.name if asked else left.name if left else ""
    return _awaited(world, _held(world, running, name))


def _left_there(world: World) -> Decision:
    """It ends, and what is not ours stays in the machine."""
    finished, entry = _finished("The volume is out of the machine."), world.entry
    hotplug = world.hotplug
    if moved := world.moved:
        message = f"Volume {moved.name} stays in machine {hotplug.machine}, of claim {moved.claim}."
        return _finished(message, f"{message} It was restored or migrated from {hotplug.claim}.")
    if entry is None:
        return finished
    reason, why = _LEFT[world.whose(entry)]
    message = f"Claim {hotplug.claim} stays in machine {hotplug.machine}: {why}."
    return finished.told(finished.phase, reason, message)


def _awaited(world: World, decided: Decision) -> Decision:
    """KubeVirt has been asked to take it out, or is now, and has not yet. That is not waited for
    for ever."""
    since = _since(world)
    is_asked = decided.action is None or "detachRequestedAt" in world.hotplug.status
    if world.hotplug.force and is_asked:
        return _finished(
            decided.message, "It was let go by force, while the guest may still have the disk."
        )
    if outage := _outage(world, _PARTS - {outages.API}, since):
        return _finished(
            decided.message,
            "KubeVirt does not work, so it was not waited for: it has been asked to take the "
            f"volume out, but the guest may still have it. ({outage})",
        )
    if _passed(world, since) >= PATIENCE_SECONDS:
        decided = _stuck(world, decided, _PARTS - {outages.API})
    return replace(decided, detach_requested=since)


def _since(world: World) -> dt.datetime:
    """Since when KubeVirt has been asked."""
    return time_of(world.hotplug.status.get("detachRequestedAt")) or world.now


def _held(world: World, running: Instance, name: str) -> Decision:
    if world.asked_of_instance:
        decided = _detaching(world, name, "KubeVirt has not yet taken the volume out of the guest.")
        # With the subresources KubeVirt does not pass an edit of the machine on to its instance.
        refusal = world.refused(Action.REMOVE_FROM_INSTANCE)
        if world.way is ways.Way.IMPERATIVE and (refusal is None or refusal.is_due):
            return replace(decided, action=Action.REMOVE_FROM_INSTANCE)
        if found := prechecks.migrating(world):
            return decided.told(Phase.DETACHING, found.reason, found.message)
        return decided
    seconds = _passed(world, _since(world))
    if seconds < PATIENCE_SECONDS or running.phase != "Running":
        return _detaching(world, name, "The guest is letting go of the volume.")
    said = quotes.complaint(world)
    reason, message = _what_is_left(world, running, world.given(name))
    return replace(where(world, name), waits=True, look_again=QUOTE_SECONDS).told(
        Phase.DETACHING,
        reason,
        f"{message} ({said})" if said else message,
    )


def _what_is_left(
    world: World, running: Instance, given: VolumeStatus | None
) -> tuple[Reason, str]:
    if given is None or given.is_in_guest:
        return Reason.GUEST_HOLDS, "The guest has not let go of the disk: unmount it there."
    pod = given.attachment_pod or "(not named)"
    message = (
        f"The guest has let go of the disk. KubeVirt's attachment pod {pod} is still there on node "
        f"{running.node}: kubectl -n {world.hotplug.namespace} describe pod {pod}"
    )
    return Reason.DETACH_FAILING, message


def is_slow(world: World) -> bool:
    """Whether a deletion takes longer than it does where all is well."""
    return world.began is not None and _passed(world, world.began) >= PATIENCE_SECONDS


def _passed(world: World, since: dt.datetime) -> float:
    return (world.now - since).total_seconds()


def _by_force(world: World) -> str:
    patch = '{"spec":{"force":true}}'
    return (
        f"To end this all the same: kubectl -n {world.hotplug.namespace} patch vhp "
        f"{world.hotplug.name} --type merge -p '{patch}'"
    )
