"""A claim without a volume: what it waits for, and whether that is for us to say."""

from csi_lvm_iscsi.operator.hotplug.objects import Claim, StorageClass
from csi_lvm_iscsi.operator.hotplug.world import World


def node_to_choose(world: World) -> str:
    """The node for which the volume is to be made, where it waits for nothing but that; else empty.

    For a pod its scheduler says so. KubeVirt makes no pod before there is a volume
    (pkg/virt-controller/watch/vmi/volume-hotplug.go), so that we do: of volumes of this driver
    alone, and where nobody else is there to use it.
    """
    claim, known, running = world.claim, world.storage_class, world.running
    if claim is None or claim.is_bound or claim.selected_node:
        return ""
    if known is None or not (known.is_ours and known.waits_for_user):
        return ""
    return running.node if running and not (world.older or world.rivals) else ""


def waits_for(world: World, claim: Claim) -> str:
    """What it waits for, in words, where nobody complains."""
    known = world.storage_class
    if claim.selected_node:
        return f"It is being made for node {claim.selected_node}."
    if known is None or not known.waits_for_user:
        return f"See `kubectl describe pvc {world.hotplug.claim}`."
    return f"StorageClass {claim.storage_class} makes it for its first user{_user(world, known)}"


def _user(world: World, known: StorageClass) -> str:
    if not known.is_ours:
        return (
            ", which has to be a pod: this operator chooses no node for volumes of another driver, "
            "and KubeVirt none before the claim is bound."
        )
    if world.rivals:
        return f", and these pods use it: {', '.join(world.rivals)}."
    if world.older:
        return f", and VolumeHotplug {world.older[0].name} was there before."
    if node := node_to_choose(world):
        return f": for node {node}, where the machine runs."
    return f": when the machine runs (virtctl start {world.hotplug.machine})."
