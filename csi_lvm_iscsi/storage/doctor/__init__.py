"""What can be wrong with a storage host, before and after the driver is installed there."""

from collections.abc import Sequence
from pathlib import Path

from csi_lvm_iscsi.diagnosis import checks
from csi_lvm_iscsi.diagnosis.host import Host
from csi_lvm_iscsi.diagnosis.report import examine
from csi_lvm_iscsi.model.findings import Finding
from csi_lvm_iscsi.storage.doctor.lvm import LvmChecks
from csi_lvm_iscsi.storage.doctor.role import running
from csi_lvm_iscsi.storage.doctor.tgt import TgtChecks, management_socket
from csi_lvm_iscsi.storage.tgt.socket import Management, ManagementSocket


def management_of(host: Host) -> Management:
    """The way to the tgtd of a host."""
    return ManagementSocket(management_socket(host))


async def diagnose(
    host: Host, management: Management, volume_groups: Sequence[str], state_directory: Path
) -> list[Finding]:
    """Look at a storage host: at these volume groups or, where none is named, those that hold
    volumes or thin pools."""
    lvm = LvmChecks(host, volume_groups)
    tgt = TgtChecks(host, management)

    async def shared() -> Sequence[Finding]:
        return [
            running(host, state_directory),
            checks.state_directory(host, state_directory),
            checks.free_space(host, state_directory),
            checks.clock(host),
        ]

    return await examine(
        host,
        {
            "lvm2": lvm.programs,
            "kernel modules": lvm.modules,
            "volume groups": lvm.volume_groups,
            # Before what lets LVM see them: its fix would keep this one's from seeing them.
            "LVM and guests": lvm.guests,
            "lvm.conf": lvm.configuration,
            "tgtd": tgt.daemon,
            "tgt.service": tgt.unit,
            "portals": tgt.portals,
            "role storage": shared,
        },
    )


def facts(host: Host) -> dict[str, str]:
    """What must differ between the hosts of a cluster, and cannot be seen of one alone."""
    return host.identity()
