"""What can be wrong with a node, before and after the driver is installed there."""

from collections.abc import Sequence
from pathlib import Path

from csi_lvm_iscsi.commands.runner import Where
from csi_lvm_iscsi.diagnosis import checks
from csi_lvm_iscsi.diagnosis.host import Host
from csi_lvm_iscsi.diagnosis.report import examine
from csi_lvm_iscsi.model.findings import Finding, Level, warning
from csi_lvm_iscsi.node.doctor.bystanders import BystanderChecks
from csi_lvm_iscsi.node.doctor.iscsi import IscsiChecks
from csi_lvm_iscsi.node.doctor.sessions import SessionChecks
from csi_lvm_iscsi.node.doctor.state import initiator_name


async def diagnose(
    host: Host, node_id: str | None, portals: Sequence[str], state_directory: Path
) -> list[Finding]:
    """Look at a node. `node_id`: its name in the cluster, if it shall be compared; `portals`: to
    be reached beside those that its records name."""
    iscsi = IscsiChecks(host, node_id)
    sessions = SessionChecks(host, portals, state_directory)
    bystanders = BystanderChecks(host)

    async def shared() -> Sequence[Finding]:
        return [
            checks.state_directory(host, state_directory),
            checks.free_space(host, state_directory),
            checks.clock(host),
        ]

    async def file_systems() -> Sequence[Finding]:
        return _file_systems(host)

    return await examine(
        host,
        {
            "open-iscsi": iscsi.programs,
            "iscsid": iscsi.daemon,
            "initiator name": iscsi.initiator,
            "iscsid.conf": iscsi.configuration,
            "kernel modules": sessions.modules,
            "file systems": file_systems,
            "udev": bystanders.udev,
            "multipath": bystanders.multipath,
            "LVM and guests": bystanders.lvm,
            "records": sessions.records,
            "sessions": sessions.sessions,
            "portals": sessions.portals,
            "state directory": shared,
        },
    )


def facts(host: Host) -> dict[str, str]:
    """What must differ between the nodes of a cluster, and cannot be seen of one alone."""
    names = host.read("etc/iscsi/initiatorname.iscsi").splitlines()
    of_host = [line.partition("=")[2] for line in names if line.startswith("InitiatorName=")]
    return {
        **host.identity(),
        "initiatorName": initiator_name(host),
        "hostInitiatorName": "".join(of_host[:1]),
    }


def _file_systems(host: Host) -> Sequence[Finding]:
    """The tools that volumes are formatted, checked and grown with; they come with the role."""
    ext4 = checks.programs(
        host, "ext4", "e2fsprogs", "mkfs.ext4", "e2fsck", "resize2fs", where=Where.HERE
    )
    xfs = checks.programs(
        host, "xfs", "xfsprogs", "mkfs.xfs", "xfs_repair", "xfs_growfs", where=Where.HERE
    )
    probe = checks.programs(
        host, "mount", "mount util-linux", "blkid", "mount", "umount", where=Where.HERE
    )
    if xfs.level is Level.ERROR:
        xfs = warning("xfs", f"{xfs.found}: no volume can be used as xfs", xfs.fix)
    return [ext4, xfs, probe]
