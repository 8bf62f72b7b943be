"""What must be so before KubeVirt is asked to attach, so that it is not asked in vain."""

from collections.abc import Iterator
from dataclasses import dataclass

from csi_lvm_iscsi.operator.hotplug import quotes, unbound, ways
from csi_lvm_iscsi.operator.hotplug.machines import Instance
from csi_lvm_iscsi.operator.hotplug.reasons import Phase, Reason
from csi_lvm_iscsi.operator.hotplug.world import World

# What KubeVirt keeps free at least (pkg/virt-launcher/virtwrap/manager.go:
# hotplugMinRequiredFreePorts and hotplugLargeMemoryMinRequiredFreePorts).
_PORTS, _PORTS_LARGE, _LARGE_BYTES = 3, 6, 2 << 30


@dataclass(frozen=True, slots=True)
class Finding:
    """What is in the way."""

    reason: Reason
    message: str
    phase: Phase = Phase.PENDING


def findings(world: World) -> Iterator[Finding]:
    """What is in the way, the first to be told first; nothing where KubeVirt can be asked."""
    yield from _of_kubevirt(world)
    yield from _of_serial(world)
    yield from _of_machine(world)
    yield from _of_claim(world)
    yield from _of_instance(world)


def duplicate(world: World) -> Finding | None:
    """Whether an older one does the same."""
    for each in world.older:
        if each.machine == world.hotplug.machine:
            return Finding(
                Reason.DUPLICATE,
                f"VolumeHotplug {each.name} attaches claim {each.claim} to this machine already: "
                "delete one of the two.",
                Phase.FAILED,
            )
    return None


def _of_kubevirt(world: World) -> Iterator[Finding]:
    if world.kubevirt is None:
        yield Finding(
            Reason.KUBEVIRT_MISSING,
            "There is no KubeVirt in this cluster: install it, and this goes on.",
        )
        return
    if world.kubevirt.version is None:
        yield Finding(Reason.KUBEVIRT_UNAVAILABLE, f"KubeVirt: {world.kubevirt.unavailable}.")
    if world.way is None:
        yield Finding(
            Reason.HOTPLUG_DISABLED,
            "KubeVirt hot-plugs no volumes as it is set up: " + ways.enabling(world.kubevirt),
        )


def _of_serial(world: World) -> Iterator[Finding]:
    machine, claim = world.hotplug.machine, world.hotplug.claim
    if moved := world.moved:
        yield Finding(
            Reason.VOLUME_MOVED,
            f"Volume {moved.name} of VirtualMachine {machine} is of claim {moved.claim} now, and "
            f"not of {claim} any more: it was restored or migrated. Delete this VolumeHotplug, "
            "which leaves that volume in the machine.",
            Phase.FAILED,
        )
    elif other := world.of_same_serial:
        yield Finding(
            Reason.SERIAL_IN_USE,
            f"VirtualMachine {machine} has a disk of serial number {other.serial} already: volume "
            f"{other.name} of claim {other.claim}. Delete this VolumeHotplug and make another with "
            "another `serial`.",
            Phase.FAILED,
        )


def _of_machine(world: World) -> Iterator[Finding]:
    name, machine = world.hotplug.machine, world.machine
    if machine is None:
        yield Finding(
            Reason.MACHINE_NOT_FOUND,
            f"There is no VirtualMachine {name} in namespace {world.hotplug.namespace}. It is "
            "attached when there is one.",
        )
        return
    if machine.deleted:
        yield Finding(Reason.MACHINE_DELETING, f"VirtualMachine {name} is being deleted.")
    running = world.running
    if machine.disables_hotplug or (running and running.disables_hotplug):
        then = f", and restart it: virtctl restart {name}" if running else "."
        yield Finding(
            Reason.MACHINE_WITHOUT_HOTPLUG,
            f"VirtualMachine {name} has disableHotplug: true, with which KubeVirt hot-plugs no "
            "volumes. Take that out of spec.template.spec.domain.devices, or of its preference"
            f"{then}",
        )
    if found := migrating(world):
        yield found


def migrating(world: World) -> Finding | None:
    """That KubeVirt passes no edit of the machine's volumes on to its instance."""
    is_edited = world.way is ways.Way.DECLARATIVE
    if not (is_edited and world.machine and world.machine.migrates_volumes):
        return None
    return Finding(
        Reason.VOLUME_MIGRATION,
        f"VirtualMachine {world.hotplug.machine} has updateVolumesStrategy: Migration, with which "
        "KubeVirt plugs no volumes in or out as it runs. When its migration is done, take that out "
        "of its spec.",
    )


def _of_claim(world: World) -> Iterator[Finding]:
    name, claim = world.hotplug.claim, world.claim
    if claim is None or claim.deleted:
        yield Finding(
            Reason.CLAIM_NOT_FOUND,
            f"PersistentVolumeClaim {name} {world.lost_claim} in namespace "
            f"{world.hotplug.namespace}. It is attached when there is one.",
        )
        return
    if not claim.is_for_many(read_only=world.hotplug.read_only):
        yield from _in_use(world)
    if not claim.is_bound:
        yield Finding(
            Reason.CLAIM_NOT_BOUND,
            f"PersistentVolumeClaim {name} has no volume yet (it is {claim.phase or 'new'}). "
            + (quotes.newest(world.told) or unbound.waits_for(world, claim)),
        )


def _in_use(world: World) -> Iterator[Finding]:
    claim = world.hotplug.claim
    for each in world.older:
        if each.machine != world.hotplug.machine:
            yield Finding(
                Reason.CLAIM_IN_USE,
                f"Claim {claim} is for one user at a time, and VolumeHotplug {each.name} attaches "
                f"it to machine {each.machine}: delete that one first.",
            )
    if world.rivals:
        yield Finding(
            Reason.CLAIM_IN_USE,
            f"Claim {claim} is for one user at a time, and these pods use it: "
            f"{', '.join(world.rivals)}. On one node nothing else would keep two from writing to "
            "it. It is attached when they have ended.",
        )
    here = world.running.node if world.running else ""
    elsewhere = sorted({each.node for each in world.attachments} - {here})
    if here and elsewhere:
        pods = f", where these pods use it: {', '.join(world.users)}" if world.users else ""
        yield Finding(
            Reason.CLAIM_IN_USE,
            f"Claim {claim} is for one node at a time, and it is attached to node "
            f"{elsewhere[0]}{pods}. The machine runs on {here}. It is attached when it is free.",
        )


def _of_instance(world: World) -> Iterator[Finding]:
    instance = world.running
    if instance is None:
        return
    if world.left and not world.asked_of_instance:
        yield Finding(
            Reason.STILL_DETACHING,
            "The volume is still being taken out of the guest from before; then it is attached.",
        )
    if world.hotplug.bus == "virtio":
        yield from _of_ports(world, instance)


def _of_ports(world: World, instance: Instance) -> Iterator[Finding]:
    ports = _PORTS_LARGE if instance.memory_bytes > _LARGE_BYTES else _PORTS
    # What the machine asks for and KubeVirt has not yet passed on takes one in a moment.
    taken = sorted(
        {
            each.name
            for each in (*instance.volumes, *world.asked_of_machine)
            if each.is_hotpluggable and each.bus == "virtio" and each.claim != world.hotplug.claim
        }
    )
    if len(taken) >= ports:
        yield Finding(
            Reason.NO_FREE_PORT,
            f"A hot-plugged virtio disk takes a PCIe port, of which this machine has {ports} for "
            f"sure, and {len(taken)} are taken ({', '.join(taken)}). Use `bus: scsi`, which takes "
            "none: delete this VolumeHotplug and make another.",
            Phase.FAILED,
        )
