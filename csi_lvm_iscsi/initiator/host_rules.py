"""A udev rule that keeps the host's storage tools off the disks of volumes."""

import structlog

from csi_lvm_iscsi.commands.runner import Runner, Where
from csi_lvm_iscsi.initiator.host_paths import HostPaths
from csi_lvm_iscsi.model.errors import DriverError
from csi_lvm_iscsi.records import files

_log = structlog.get_logger()
_RELOAD_SECONDS = 10.0
FILE = "59-csi-lvm-iscsi.rules"

# What a guest writes to its disk (a PV, an md member, a file system with the label of ours) must
# mean nothing to the host. The rules that would act on it, as Debian 12 has them:
#   60-persistent-storage.rules probes with blkid and scsi_id, unless that FLAG is set. Without
#     ID_FS_TYPE, 69-lvm.rules activates no VG, 64-md-raid-assembly.rules no array, 64-btrfs.rules
#     no member, and there is no by-uuid or by-label link for a guest to take over.
#   60-multipath.rules asks `multipath -u`, unless `nompath` is set (its kernel parameter);
#     multipathd itself leaves alone what has no ID_WWN (multipath.conf(5), "property").
#   80-udisks2.rules offers the disk to desktops, unless UDISKS_IGNORE is set.
# SYSTEMD_READY=0 would do some of it too, but systemd unmounts what is mounted from a device when
# that property changes to 0, which it would for the volumes in use when this rule is first loaded.
# The same for multipath maps over our disks: 60-persistent-storage-dm.rules (13-dm-disk.rules of
# upstream) probes unless DISK_RULES are disabled. The map's own events say so as well
# (initiator/device_mapper.py); this rule is for events that others trigger.
# ATTRS looks at the parents also: partitions that a guest made are covered.
RULE = """\
# Written by csi-lvm-iscsi: disks of volumes belong to pods and virtual machines, not to this host.
SUBSYSTEM=="block", KERNEL=="sd*", SUBSYSTEMS=="scsi", ATTRS{vendor}=="CSILVM*", \
ENV{UDEV_DISABLE_PERSISTENT_STORAGE_RULES_FLAG}="1", ENV{nompath}="1", ENV{UDISKS_IGNORE}="1"
SUBSYSTEM=="block", KERNEL=="dm-*", ATTR{dm/uuid}=="CSILVM-*", \
ENV{DM_UDEV_DISABLE_DISK_RULES_FLAG}="1", ENV{DM_UDEV_DISABLE_SUBSYSTEM_RULES_FLAG}="1", \
ENV{UDEV_DISABLE_PERSISTENT_STORAGE_RULES_FLAG}="1", ENV{UDISKS_IGNORE}="1"
"""


async def ensure(runner: Runner, paths: HostPaths) -> None:
    """Write the rule and have udevd read it. Where no udevd runs, there is nobody to mislead."""
    rule = paths.udev_rules / FILE
    if rule.exists() and rule.read_text() == RULE:
        return
    rule.parent.mkdir(parents=True, exist_ok=True)
    files.write(rule, RULE.encode())
    try:
        await runner.run(
            "udevadm", "control", "--reload", where=Where.HOST, seconds=_RELOAD_SECONDS
        )
    except DriverError as error:
        _log.warning("udevd was not told of the new rule", error=str(error))
