"""The one entrance to the rules."""

from csi_lvm_iscsi.operator.hotplug import attaching, detaching
from csi_lvm_iscsi.operator.hotplug.decision import Decision
from csi_lvm_iscsi.operator.hotplug.world import World


def decide(world: World) -> Decision:
    """What is to be done about a VolumeHotplug, and told of it."""
    return detaching.decide(world) if world.hotplug.deleted else attaching.decide(world)
