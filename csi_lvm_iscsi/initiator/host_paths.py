"""Where the host keeps what we read and write."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class HostPaths:
    """Files of the host. In a container they must be the host's own: what is not reached through
    process 1 is mounted there at the same path."""

    iscsi: Path = Path("/proc/1/root/etc/iscsi")
    """The database of iscsiadm (Debian's place of it), of the iscsiadm that we run on the host."""

    sys: Path = Path("/sys")
    dev: Path = Path("/dev")
    udev_rules: Path = Path("/run/udev/rules.d")
    mountinfo: Path = Path("/proc/self/mountinfo")
    boot_id: Path = Path("/proc/sys/kernel/random/boot_id")
