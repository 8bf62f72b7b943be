"""Decisions about a VolumeHotplug that is to be attached."""

from dataclasses import replace

from csi_lvm_iscsi.operator.hotplug import prechecks, quotes, unbound, ways
from csi_lvm_iscsi.operator.hotplug.decision import Condition, Decision, where
from csi_lvm_iscsi.operator.hotplug.machines import Instance, Volume
from csi_lvm_iscsi.operator.hotplug.reasons import Phase, Reason
from csi_lvm_iscsi.operator.hotplug.world import Action, Refusal, Whose, World

RETRY_SECONDS = 10.0
"""After so long KubeVirt is asked again for what it did not do."""

QUOTE_SECONDS = 5.0
"""So often it is asked what others complain of."""


def decide(world: World) -> Decision:
    """What is to be done to attach it."""
    decided = _decide(world)
    migratable = [_migratable(world)] if world.claim and world.claim.is_bound else []
    return replace(decided, conditions=(*decided.conditions, *migratable))


def _decide(world: World) -> Decision:
    if found := prechecks.duplicate(world):
        return _held_up(world, found)
    if world.entry:
        return _with_checks(world, _follow(world, world.entry))
    if world.addition:
        # Another's request for the same claim is waited for, too: its entry then tells whose it is.
        return _with_checks(world, _requested(world, world.addition.name))
    in_the_way = list(prechecks.findings(world))
    if not in_the_way:
        return _passed(_ask(world))
    decided = _held_up(world, in_the_way[0])
    if [each.reason for each in in_the_way] == [Reason.CLAIM_NOT_BOUND]:
        return _with_node(world, decided)
    return decided


def _held_up(world: World, found: prechecks.Finding) -> Decision:
    waits = found.reason in (Reason.CLAIM_NOT_BOUND, Reason.CLAIM_IN_USE)
    return Decision(
        found.phase,
        found.reason,
        found.message,
        waits=waits,
        look_again=QUOTE_SECONDS if waits else None,
        volume_name=world.moved.name if world.moved else "",
        conditions=(_unmet(found),),
    )


def _with_node(world: World, decided: Decision) -> Decision:
    """The same of a claim without a volume, where nothing else is in the way: with that made for
    the node of the machine, if that is for us to say."""
    if not unbound.node_to_choose(world):
        return decided
    refusal = world.refused(Action.CHOOSE_NODE)
    if refusal is None:
        return replace(decided, action=Action.CHOOSE_NODE)
    action = Action.CHOOSE_NODE if refusal.is_due else None
    return replace(decided, action=action, message=f"{decided.message} {refusal.message}")


def _with_checks(world: World, decided: Decision) -> Decision:
    """The same, of a machine that asks for the volume: it may have lost since what it needs."""
    found = _lost(world)
    return replace(decided, conditions=(_unmet(found),)) if found else _passed(decided)


def _unmet(found: prechecks.Finding) -> Condition:
    return Condition("Prechecked", status=False, reason=found.reason, message=found.message)


def _passed(decided: Decision) -> Decision:
    message = "Claim and machine are as they have to be."
    passed = Condition("Prechecked", status=True, reason=Reason.PASSED, message=message)
    return replace(decided, conditions=(passed,))


def _migratable(world: World) -> Condition:
    if world.claim and world.claim.is_shared:
        message = "The volume can be on two nodes at once, as a live migration needs."
        return Condition("Migratable", status=True, reason=Reason.READ_WRITE_MANY, message=message)
    message = (
        f"While it has this volume, the machine cannot move to another node as it runs: claim "
        f"{world.hotplug.claim} is not ReadWriteMany."
    )
    return Condition("Migratable", status=False, reason=Reason.NOT_READ_WRITE_MANY, message=message)


def _ask(world: World) -> Decision:
    name = world.volume_name
    decided = replace(where(world, name), action=Action.ADD, waits=True)
    if refusal := world.refused(Action.ADD):
        return refused(decided, refusal)
    message = f"KubeVirt is asked to add volume {name} to VirtualMachine {world.hotplug.machine}."
    return decided.told(Phase.ATTACHING, Reason.REQUESTED, message)


def refused(decided: Decision, refusal: Refusal) -> Decision:
    """The same, but not now, as KubeVirt did not do it the last time. When it is asked again, that
    is still what there is to tell."""
    action = decided.action if refusal.is_due else None
    decided = replace(decided, action=action, waits=False, look_again=RETRY_SECONDS)
    is_away = refusal.is_away
    phase = Phase.DETACHING if decided.phase is Phase.DETACHING else None
    return decided.told(
        phase or (Phase.PENDING if is_away else Phase.FAILED),
        Reason.KUBEVIRT_UNAVAILABLE if is_away else Reason.REFUSED,
        refusal.message,
    )


def _requested(world: World, name: str) -> Decision:
    message = f"KubeVirt has taken the request for volume {name}, and not yet worked on it."
    decided = replace(where(world, name), waits=True)
    return _unless_lost(world, _waiting(decided, world, message))


def _follow(world: World, entry: Volume) -> Decision:
    """The machine asks for the claim."""
    decided = where(world, entry.name)
    running = world.running
    if running is None:
        return _unless_lost(world, _stopped(world, decided))
    if decided.is_attached:
        return _attached(world, entry, decided)
    return _unless_lost(world, _on_its_way(world, running, entry, decided))


def _on_its_way(world: World, running: Instance, entry: Volume, decided: Decision) -> Decision:
    decided = replace(decided, waits=True, look_again=QUOTE_SECONDS)
    if world.node_is_gone:
        return decided.told(
            Phase.ATTACHING,
            Reason.ATTACH_FAILING,
            f"Node {running.node}, where the machine runs, is no more in the cluster. It goes on "
            "when that is back, or KubeVirt has started the machine elsewhere.",
        )
    if running.phase != "Running":
        said = quotes.complaint(world)
        return decided.told(
            Phase.ATTACHING,
            Reason.MACHINE_STARTING,
            f"VirtualMachine {world.hotplug.machine} starts ({running.phase or 'new'}), and gets "
            f"the volume as it does.{f' ({said})' if said else ''}",
        )
    if world.removal:
        message = "KubeVirt has taken a request to take this volume out; then it is added again."
        return _waiting(decided, world, message)
    if _waits_for_a_start(world, running, entry):
        return replace(decided, look_again=None).told(
            Phase.WAITING,
            Reason.RESTART_REQUIRED,
            "The machine asks for the volume, but KubeVirt plugs it in with the next start only: "
            f"virtctl restart {world.hotplug.machine}",
        )
    if not _is_passed_on(running, entry) and (found := prechecks.migrating(world)):
        return decided.told(Phase.WAITING, found.reason, found.message)
    given = world.given(entry.name)
    message = given.message if given and given.message else "KubeVirt is adding the volume."
    return _waiting(decided, world, message)


def _lost(world: World) -> prechecks.Finding | None:
    """What is no more as it has to be for a machine that asks for the volume."""
    name, machine = world.hotplug.claim, world.hotplug.machine
    if world.machine and world.machine.deleted:
        return prechecks.Finding(
            Reason.MACHINE_DELETING,
            f"VirtualMachine {machine} is being deleted, and the volume is detached when it is "
            "gone. Delete this VolumeHotplug, or the next machine of that name gets the volume.",
        )
    if world.lost_claim:
        return prechecks.Finding(
            Reason.CLAIM_NOT_FOUND,
            f"PersistentVolumeClaim {name} {world.lost_claim}, and VirtualMachine {machine} asks "
            "for it: it cannot start with it. Delete this VolumeHotplug, or make the claim again.",
        )
    return None


def _unless_lost(world: World, decided: Decision) -> Decision:
    """The same; in other words where the guest does not get the volume any more."""
    found = _lost(world)
    if found is None:
        return decided
    phase = found.phase if found.reason is Reason.MACHINE_DELETING else decided.phase
    return decided.told(phase, found.reason, found.message)


def _waits_for_a_start(world: World, running: Instance, entry: Volume) -> bool:
    """Whether the machine was edited in a way that KubeVirt does not act on as it runs."""
    is_edited = world.way is not ways.Way.DECLARATIVE or not entry.is_hotpluggable
    return is_edited and not _is_passed_on(running, entry) and world.given(entry.name) is None


def _is_passed_on(running: Instance, entry: Volume) -> bool:
    known = {(each.name, each.claim) for each in running.volumes}
    return (entry.name, entry.claim) in known


def _waiting(decided: Decision, world: World, message: str) -> Decision:
    decided = replace(decided, look_again=QUOTE_SECONDS)
    if said := quotes.complaint(world):
        return decided.told(Phase.ATTACHING, Reason.ATTACH_FAILING, said)
    return decided.told(Phase.ATTACHING, Reason.ATTACHING, message)


def _stopped(world: World, decided: Decision) -> Decision:
    machine = world.hotplug.machine
    state = world.machine.status if world.machine else ""
    return decided.told(
        Phase.WAITING,
        Reason.MACHINE_STOPPED,
        f"VirtualMachine {machine} does not run ({state or 'Stopped'}). It gets the volume with "
        f"its next start: virtctl start {machine}",
    )


_ATTACHED = {
    Whose.OURS: (Reason.ATTACHED, ""),
    Whose.OTHERS: (
        Reason.ATTACHED_BY_OTHERS,
        " Somebody else attached it, in another way: deleting this VolumeHotplug leaves it there.",
    ),
    Whose.MACHINES: (
        Reason.PART_OF_MACHINE,
        " It is part of the machine: deleting this VolumeHotplug leaves it there.",
    ),
}


def _attached(world: World, entry: Volume, decided: Decision) -> Decision:
    reason, remark = _ATTACHED[world.whose(entry)]
    disk = f", disk {decided.device} of KubeVirt" if decided.device else ""
    message = f"The guest has claim {world.hotplug.claim}{disk}.{remark}"
    found = _lost(world)
    if found and found.reason is Reason.MACHINE_DELETING:
        message += f" But {found.message}"
    elif world.lost_claim:
        message += (
            f" But the claim {world.lost_claim}: the machine keeps the volume until it is "
            "detached or stops, and then cannot start with it. Delete this VolumeHotplug."
        )
    return decided.told(Phase.ATTACHED, reason, message + _troubles(world))


def _troubles(world: World) -> str:
    """What is wrong with a machine that has the volume."""
    running = world.running
    if running is None:
        return ""
    if running.not_ready and not running.troubles:
        return (
            f" But KubeVirt says that the machine is not ready ({running.not_ready}). See whether "
            f"its node is: kubectl get node {running.node}"
        )
    return "".join(f" {quotes.in_words(each)}" for each in running.troubles)
