"""`kubectl lvmiscsi detach`: what it deletes, and what it tells while it waits."""

import pytest

from csi_lvm_iscsi.kubectl import plugin
from csi_lvm_iscsi.operator.hotplug.reasons import Reason
from tests.unit.kubectl.objects import event, hotplug
from tests.unit.kubectl.plugging import ATTACHED, DETACH, NEW, leaving, modified, named, waits
from tests.unit.kubectl.workstation import Workstation


def test_detach_deletes_whatever_attaches_it(desk: Workstation) -> None:
    """A VolumeHotplug that a person made has a name of its own."""
    desk.has(plugin.HOTPLUGS, named("mine", NEW), hotplug("data", "c3"), hotplug("logs", "c2"))
    ran = desk.run(*DETACH)
    assert ran.status == 0
    assert ran.out == "VolumeHotplug mine deleted: it goes when the volume is detached\n"
    (call,) = desk.calls("delete")
    assert call[1:] == ["delete", plugin.HOTPLUGS, "mine", "--wait=false", "--ignore-not-found"]
    assert not desk.calls("patch")


def test_detach_waits_until_it_is_gone(desk: Workstation) -> None:
    desk.has(plugin.HOTPLUGS, ATTACHED)
    held = leaving(waits("the guest still has the disk mounted"))
    desk.cluster["lists"] = [[leaving(ATTACHED)]]
    desk.cluster["watches"] = [[modified(held), {"type": "DELETED", "object": held}]]
    ran = desk.run(*DETACH, "--wait", mixed=True)
    assert ran.status == 0
    assert ran.out == (
        "VolumeHotplug c2-data deleted: it goes when the volume is detached\n"
        "Detaching\n"
        "Detaching: the guest still has the disk mounted\n"
        "data is detached from c2\n"
    )


def test_it_is_detached_when_all_that_attach_it_are_gone(desk: Workstation) -> None:
    desk.has(plugin.HOTPLUGS, ATTACHED, named("mine", ATTACHED))
    desk.cluster["lists"] = [[], [leaving(waits("the guest has it"))]]
    ran = desk.run(*DETACH, "--wait", "--timeout=0")
    assert ran.status == 1
    assert "data is detached" not in ran.out
    desk.cluster["lists"] = [[]]
    assert desk.run(*DETACH, "--wait").out.count("data is detached from c2\n") == 1


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (Reason.ATTACHED_BY_OTHERS, "somebody else attached it, in another way"),
        (Reason.PART_OF_MACHINE, "it is part of the VM"),
    ],
)
@pytest.mark.parametrize("is_seen", [True, False])
def test_what_stays_in_the_vm_is_not_called_detached(
    desk: Workstation, reason: Reason, words: str, *, is_seen: bool
) -> None:
    others = hotplug("data", "c2", "Attached", "The guest has claim data.", reason=reason)
    desk.has(plugin.HOTPLUGS, others)
    gone = {"type": "DELETED", "object": leaving(others)}
    desk.cluster["lists"] = [[leaving(others)] if is_seen else []]
    desk.cluster["watches"] = [[gone]]
    ran = desk.run(*DETACH, "--wait")
    assert ran.status == 1
    assert ran.out.splitlines()[1:] == [f"data stays in c2: {words}"]


def test_force_is_said_before_it_is_deleted(desk: Workstation) -> None:
    desk.has(plugin.HOTPLUGS, ATTACHED)
    assert desk.run(*DETACH, "--force").status == 0
    (patch,) = desk.calls("patch")
    assert patch[-2:] == ["--type=merge", '--patch={"spec":{"force":true}}']
    verbs = [call for call in desk.calls(plugin.HOTPLUGS) if "get" not in call]
    assert ["patch" in call for call in verbs] == [True, False]


@pytest.mark.parametrize("is_allowed", [True, False])
def test_what_may_be_left_in_the_guest_is_told(desk: Workstation, *, is_allowed: bool) -> None:
    """By the operator's Event; where those may not be read, that is told."""
    desk.has(plugin.HOTPLUGS, ATTACHED)
    why = "It was let go by force, while the guest may still have the disk."
    desk.has("events", event(ATTACHED, "Warning", "DetachUnfinished", why))
    desk.cluster["forbidden"] = [] if is_allowed else ["events"]
    desk.cluster["lists"] = [[leaving(ATTACHED)]]
    desk.cluster["watches"] = [[{"type": "DELETED", "object": leaving(ATTACHED)}]]
    ran = desk.run(*DETACH, "--force", "--wait")
    unseen = "data is detached from c2, if no Event says otherwise: you may not list events"
    said = f"data may still be in c2: {why}" if is_allowed else unseen
    assert ran.out.splitlines()[1:] == [said]
    # What comes after `&&` may give the disk to another VM.
    assert ran.status == int(is_allowed)


def test_a_deletion_that_kubectl_leaves_off_is_no_success(desk: Workstation) -> None:
    """kubectl 1.37 with `delete: interactive` in its kuberc, and nobody to answer, exits with 0."""
    desk.has(plugin.HOTPLUGS, ATTACHED)
    desk.cluster["deletes"] = "Do you want to continue? (y/N): deletion is cancelled"
    ran = desk.run(*DETACH, "--wait")
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.endswith(f"and did not: `kubectl delete {plugin.HOTPLUGS} c2-data`.\n")


def test_nothing_to_detach_is_no_error(desk: Workstation) -> None:
    ran = desk.run(*DETACH, "--wait")
    assert ran.status == 0
    assert ran.out == "Nothing to detach: no VolumeHotplug attaches data to c2\n"
