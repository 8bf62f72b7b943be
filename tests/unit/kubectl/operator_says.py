"""VolumeHotplugs with the status that the operator writes, by its own rules."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

from csi_lvm_iscsi.operator.hotplug import rules, status
from csi_lvm_iscsi.operator.hotplug.machines import Instance, VirtualMachine, Volume, VolumeStatus
from csi_lvm_iscsi.operator.hotplug.objects import VolumeAttachment, VolumeHotplug
from csi_lvm_iscsi.operator.hotplug.world import World
from tests.unit.kubectl.objects import PV, SERIAL, Object, attachment, guest, hotplug
from tests.unit.operator_hotplug import test_decision

_NOW = dt.datetime(2026, 11, 28, 10, tzinfo=dt.UTC)
_SOURCE = Volume("data", "data", is_hotpluggable=True, serial=SERIAL, bus="scsi")
_WITHOUT = test_decision.machine()
_WITH = replace(_WITHOUT, volumes=(*_WITHOUT.volumes, _SOURCE))
_GIVEN = replace(test_decision.LEFT, phase="Ready", target="sda", attachment_pod="hp-volume-7xk2p")


def nothing() -> Object:
    """It was made just now."""
    made = hotplug("data", "c2")
    made["metadata"]["generation"] = 1
    return made


def attaching(error: str) -> Object:
    """The driver cannot attach it, for now."""
    failed = VolumeAttachment.of(attachment(PV, "compute-1", attached=False, error=error))
    return _told(_made(), _WITH, attachments=(failed,))


def attached() -> Object:
    """The guest has it."""
    return _told(_made(), _WITH, _GIVEN)


def leaving() -> Object:
    """It was deleted just now."""
    found = attached()
    found["metadata"]["deletionTimestamp"] = status.written_time(_NOW)
    return found


def asked_to_detach() -> Object:
    """The machine is to ask for it no more."""
    return _told(leaving(), _WITH, _GIVEN)


def let_go_by_kubevirt(*, seconds: float) -> Object:
    """The machine does not ask for it any more since then, but the guest has it."""
    found, since = leaving(), _NOW - dt.timedelta(seconds=seconds)
    found["status"]["detachRequestedAt"] = status.written_time(since)
    return _told(found, _WITHOUT, _GIVEN)


def _made() -> Object:
    # The serial number is written before KubeVirt is asked.
    return {**nothing(), "status": {"serial": SERIAL}}


def _told(
    found: Object,
    machine: VirtualMachine,
    *given: VolumeStatus,
    **changes: Any,  # noqa: ANN401
) -> Object:
    running = Instance.of(guest("c2", "compute-1"))
    world: World = replace(
        test_decision.WORLD,
        now=_NOW,
        hotplug=VolumeHotplug.of(found),
        machine=machine,
        instance=replace(running, statuses=given),
        **changes,
    )
    return {**found, "status": status.status_of(world, rules.decide(world))}
