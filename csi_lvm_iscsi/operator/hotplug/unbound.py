"""A claim without a volume: what it waits for, and whether that is for us to say."""

from csi_lvm_iscsi.operator.hotplug.objects import Claim, StorageClass
from csi_lvm_iscsi.operator.hotplug.world import World


def node_to_choose(world: World) -> str:
    """The node for which the volume is to be made, where it waits for nothing but that; else empty.

    For a pod its scheduler says so, which also compares the zones that a class may name. We do not
    let KubeVirt make that pod, as it is asked with the disk's serial number, which is the volume's.
    What another driver makes of a node we do not know.
    """
    claim, known, running = world.claim, world.storage_class, world.running
    if claim is None or not _is_unused(claim) or claim.selected_node:
        return ""
    if known is None or not _is_for_us(known) or world.rivals or world.node_is_gone:
        return ""
    return running.node if running else ""


def waits_for(world: World, claim: Claim) -> str:
    """What it waits for, in words, where nobody complains."""
    known = world.storage_class
    if not _is_unused(claim) or known is None or not known.waits_for_user:
        return f"See `kubectl describe pvc {world.hotplug.claim}`."
    if claim.selected_node:
        return f"It is being made for node {claim.selected_node}."
    return f"StorageClass {claim.storage_class} makes it for its first user{_user(world, known)}"


def _is_unused(claim: Claim) -> bool:
    return not claim.volume and claim.phase == "Pending"


def _is_for_us(known: StorageClass) -> bool:
    return known.is_ours and known.waits_for_user and not known.is_restricted


def _user(world: World, known: StorageClass) -> str:
    if not _is_for_us(known):
        kind = "with allowedTopologies" if known.is_ours else "of another driver"
        return f", which has to be a pod: this operator chooses no node for classes {kind}."
    if world.rivals:
        return f", and these pods use it: {', '.join(world.rivals)}."
    if world.running is None:
        return f": when the machine runs (virtctl start {world.hotplug.machine})."
    if not world.running.node:
        return ": when the machine has a node."
    return f": for node {world.running.node}, where the machine runs."
