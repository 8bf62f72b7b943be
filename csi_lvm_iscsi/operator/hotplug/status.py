"""The status of a VolumeHotplug as the API server has it, made of a decision: no I/O, no clock."""

import datetime as dt
from collections.abc import Iterator

from csi_lvm_iscsi.operator.hotplug.decision import Condition, Decision
from csi_lvm_iscsi.operator.hotplug.reasons import WARNINGS, Reason
from csi_lvm_iscsi.operator.hotplug.world import Action, Whose, World
from csi_lvm_iscsi.storage_client.api_server import Object

ATTACHED = "Attached"
# What the API server takes: metav1.Condition.
_LONGEST_MESSAGE = 32768


def status_of(world: World, decided: Decision) -> Object:
    """The whole status."""
    now = written_time(world.now)
    before = world.hotplug.status
    is_attached = decided.is_attached
    asked = world.now if decided.action is Action.ADD else world.unanswered
    since = decided.detach_requested
    fields = {
        "phase": str(decided.phase),
        "device": decided.device,
        "serial": _serial(world, decided),
        "node": decided.node,
        "attachmentPod": decided.attachment_pod,
        "volumeName": decided.volume_name,
        "attachedAt": before.get("attachedAt", now) if is_attached else "",
        "attachRequestedAt": written_time(asked),
        "detachRequestedAt": written_time(since),
    }
    return {
        **{name: value for name, value in fields.items() if value},
        "observedGeneration": world.hotplug.generation,
        "conditions": [_written(each, world, now) for each in conditions(decided)],
    }


def written_time(moment: dt.datetime | None) -> str:
    """A time as the status has it; empty where there is none."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment else ""


def conditions(decided: Decision) -> tuple[Condition, ...]:
    """All conditions, the main one first."""
    main = Condition(ATTACHED, decided.is_attached, decided.reason, decided.message)
    return (main, *decided.conditions)


def _serial(world: World, decided: Decision) -> str:
    """It is written before KubeVirt is asked: by it our disk is known ever after. Not so by a
    duplicate: the disk is its elder's, whose rank it would get by that."""
    recorded = str(world.hotplug.status.get("serial", ""))
    is_ours = (
        world.entry is not None
        and world.whose(world.entry) is Whose.OURS
        and decided.reason is not Reason.DUPLICATE
    )
    return world.serial if recorded or is_ours or decided.action is Action.ADD else ""


def _written(condition: Condition, world: World, now: str) -> Object:
    status = str(condition.status)
    old = _before(world, condition.kind)
    return {
        "type": condition.kind,
        "status": status,
        "observedGeneration": world.hotplug.generation,
        "lastTransitionTime": old["lastTransitionTime"] if old.get("status") == status else now,
        "reason": str(condition.reason),
        "message": condition.message[:_LONGEST_MESSAGE],
    }


def _before(world: World, kind: str) -> Object:
    found: list[Object] = world.hotplug.status.get("conditions", [])
    return next((each for each in found if each["type"] == kind), {})


def difference(before: Object, status: Object) -> Object:
    """The merge patch that makes the status this one; empty where it is."""
    gone: Object = dict.fromkeys(set(before) - set(status))
    return gone | {name: value for name, value in status.items() if value != before.get(name)}


def news(world: World, decided: Decision) -> Iterator[tuple[str, str, bool]]:
    """The Events that a decision makes, each as reason, message, and whether it is a warning."""
    before = _before(world, ATTACHED)
    if decided.action is Action.FINISH:
        if decided.warning:
            yield "DetachUnfinished", decided.warning, True
        else:
            is_out = decided.reason is Reason.DETACHING
            yield "Detached" if is_out else str(decided.reason), decided.message, False
    elif decided.reason in WARNINGS:
        if before.get("reason") != decided.reason:
            yield str(decided.reason), decided.message, True
    elif decided.is_attached and before.get("status") != "True":
        yield str(Reason.ATTACHED), decided.message, False
