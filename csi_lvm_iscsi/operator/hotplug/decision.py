"""What is to be done about a VolumeHotplug, and what is to be told of it: rules over what was
observed, without any I/O and without a clock.

The same world leads to the same decision, whatever was decided before: whoever is killed between a
decision and what it asks for goes on by deciding again.
"""

import datetime as dt
from dataclasses import dataclass, field, replace

from csi_lvm_iscsi.operator.hotplug.reasons import Phase, Reason
from csi_lvm_iscsi.operator.hotplug.world import Action, World


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition of the status."""

    kind: str
    status: bool
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done, and told."""

    phase: Phase
    reason: Reason
    message: str
    action: Action | None = None
    is_attached: bool = False
    """Whether the guest has the volume."""

    waits: bool = False
    """Whether others are at work on it: what they complain of is asked for, and told."""

    look_again: float | None = None
    """Seconds after which time alone may change the decision."""

    volume_name: str = ""
    """In the machine; empty where it is in none."""

    device: str = ""
    node: str = ""
    attachment_pod: str = ""
    detach_requested: dt.datetime | None = None
    """Since when the machine does not ask for it any more, while it is being deleted."""

    warning: str = ""
    """Said once more as an Event, where it ends otherwise than it should."""

    conditions: tuple[Condition, ...] = field(default=())
    """Beside Attached."""

    def told(self, phase: Phase, reason: Reason, message: str) -> "Decision":
        """The same, told in other words."""
        return replace(self, phase=phase, reason=reason, message=message)


def where(world: World, name: str) -> Decision:
    """What there is to tell of a volume of the machine, without the words."""
    given, running = world.given(name), world.running
    is_ready = running is not None and running.phase == "Running"
    return Decision(
        Phase.ATTACHING,
        Reason.ATTACHING,
        "",
        is_attached=is_ready and given is not None and given.is_ready,
        volume_name=name,
        device=given.target if given else "",
        node=running.node if running else "",
        attachment_pod=given.attachment_pod if given else "",
    )
