"""The words of a VolumeHotplug's status. docs/hotplug.md tells what to do at each of them."""

from enum import StrEnum


class Phase(StrEnum):
    """Where a VolumeHotplug is, in a word."""

    PENDING = "Pending"
    """Something is missing before KubeVirt can be asked."""

    WAITING = "Waiting"
    """The machine asks for the volume, and gets it with its next start."""

    ATTACHING = "Attaching"
    ATTACHED = "Attached"
    DETACHING = "Detaching"
    FAILED = "Failed"
    """Somebody has to change something; what was refused is asked again all the same."""


class Reason(StrEnum):
    """Why it is there."""

    # Nothing is asked of KubeVirt.
    KUBEVIRT_MISSING = "KubeVirtMissing"
    HOTPLUG_DISABLED = "HotplugDisabled"
    DUPLICATE = "Duplicate"
    MACHINE_NOT_FOUND = "VirtualMachineNotFound"
    MACHINE_DELETING = "VirtualMachineDeleting"
    MACHINE_WITHOUT_HOTPLUG = "HotplugDisabledByVirtualMachine"
    CLAIM_NOT_FOUND = "ClaimNotFound"
    CLAIM_NOT_BOUND = "ClaimNotBound"
    CLAIM_IN_USE = "ClaimInUse"
    NO_FREE_PORT = "NoFreePort"
    VOLUME_MIGRATION = "VolumeMigration"
    VOLUME_MOVED = "VolumeMoved"
    SERIAL_IN_USE = "SerialInUse"
    STILL_DETACHING = "StillDetaching"

    # KubeVirt is asked.
    REQUESTED = "Requested"
    REFUSED = "Refused"
    KUBEVIRT_UNAVAILABLE = "KubeVirtUnavailable"
    ATTACHING = "Attaching"
    ATTACH_FAILING = "AttachFailing"
    MACHINE_STOPPED = "VirtualMachineStopped"
    MACHINE_STARTING = "VirtualMachineStarting"
    RESTART_REQUIRED = "RestartRequired"

    ATTACHED = "Attached"
    ATTACHED_BY_OTHERS = "AttachedByOthers"
    PART_OF_MACHINE = "PartOfVirtualMachine"

    # It is being deleted.
    DETACHING = "Detaching"
    DETACH_FAILING = "DetachFailing"
    GUEST_HOLDS = "GuestHolds"

    # Of the other conditions.
    PASSED = "Passed"
    READ_WRITE_MANY = "ReadWriteMany"
    NOT_READ_WRITE_MANY = "NotReadWriteMany"


WARNINGS = frozenset(
    {
        Reason.HOTPLUG_DISABLED,
        Reason.MACHINE_WITHOUT_HOTPLUG,
        Reason.DUPLICATE,
        Reason.CLAIM_IN_USE,
        Reason.NO_FREE_PORT,
        Reason.VOLUME_MIGRATION,
        Reason.VOLUME_MOVED,
        Reason.SERIAL_IN_USE,
        Reason.REFUSED,
        Reason.KUBEVIRT_UNAVAILABLE,
        Reason.ATTACH_FAILING,
        Reason.RESTART_REQUIRED,
        Reason.DETACH_FAILING,
        Reason.GUEST_HOLDS,
    }
)
"""Of these somebody should know: they become warning Events. What is only not there yet does not,
as several objects are often applied at once."""
