"""Which block devices of this host are disks of volumes: what is on them is a tenant's."""

from pathlib import Path

# What tgtd is told of each unit (storage/tgt/target.py), and the maps of initiator/maps.py have.
_VENDOR = "CSILVM"
_MAP = "CSILVM-"


def patterns(sys: Path) -> tuple[str, ...]:
    """Patterns of lvm (lvm.conf(5), "filter") that reject them, with the partitions on them."""
    disks = [
        f"r|^/dev/{disk.name}[0-9]*$|"
        for disk in sorted((sys / "block").glob("sd*"))
        if _read(disk / "device/vendor").startswith(_VENDOR)
    ]
    maps = [
        f"r|^/dev/{each.name}$|"
        for each in sorted((sys / "block").glob("dm-*"))
        if _read(each / "dm/uuid").startswith(_MAP)
    ]
    return (*disks, *maps)


def _read(attribute: Path) -> str:
    """An attribute in sysfs; empty where the disk is gone."""
    try:
        return attribute.read_text().strip()
    except OSError:
        return ""
