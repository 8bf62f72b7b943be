"""Checks that storage hosts and nodes share."""

from pathlib import Path

from csi_lvm_iscsi.commands.runner import Where
from csi_lvm_iscsi.diagnosis.host import Host
from csi_lvm_iscsi.model.findings import Finding, error, ok, warning
from csi_lvm_iscsi.model.sizes import human

_UNSYNCHRONISED = 0x40  # STA_UNSYNC, adjtimex(2)
_VOLATILE = ("tmpfs", "ramfs", "overlay", "squashfs")
_LOW_BYTES = 64 << 20
_TOO_LOW_BYTES = 4 << 20
_LOW_FILES = 1000


def programs(
    host: Host, check: str, package: str, *names: str, where: Where = Where.HOST
) -> Finding:
    """The programs of a package (its name in Debian)."""
    missing = host.missing(*names, where=where)
    if missing:
        return error(
            check, f"{', '.join(missing)} not installed", f"apt-get install --yes {package}"
        )
    return ok(check, f"{', '.join(names)} installed")


async def modules(host: Host, *names: str) -> Finding:
    """Kernel modules that are loaded, built in, or can be loaded when they are needed."""
    check = "kernel modules"
    missing = []
    for name in names:
        if not (host.root / "sys/module" / name).exists():
            # modprobe succeeds without output for what is built in.
            completed = await host.run("modprobe", "--dry-run", "--quiet", name)
            if completed.code != 0:
                missing.append(name)
    if missing:
        return error(
            check,
            f"the kernel has no {', '.join(missing)}: install the kernel's package of modules",
            f"modprobe --all {' '.join(missing)}",
        )
    return ok(check, f"{', '.join(names)} loaded or loadable")


def state_directory(host: Host, path: Path) -> Finding:
    """The role's records must survive a reboot."""
    check = "state directory"
    kind = host.mount_type(path)
    if kind in _VOLATILE:
        return error(
            check,
            f"{path} is on {kind}, which a reboot or a new container empties: give --state-dir a "
            "directory on a disk",
            f"findmnt --target {path}",
        )
    return ok(check, f"{path} is on {kind}")


def free_space(host: Host, path: Path) -> Finding:
    """Records are small, but without room for one nothing can be published or staged."""
    check = "free space"
    free, files = host.free(path)
    found = f"{human(free)} free for {path}"
    if 0 <= files < _LOW_FILES:
        found += f", and {files} files more can be made"
    elif free >= _LOW_BYTES:
        return ok(check, found)
    fix = f"du --one-file-system --human-readable --max-depth=2 {path.parent} | sort -h | tail"
    return (error if free < _TOO_LOW_BYTES or files == 0 else warning)(
        check, f"{found}: see what fills it", fix
    )


def clock(host: Host) -> Finding:
    """Certificates are refused by a host whose clock is wrong, and logs cannot be compared."""
    if host.clock_status() & _UNSYNCHRONISED:
        return warning(
            "clock",
            "not synchronised: the certificates of TLS may be refused",
            "timedatectl set-ntp true || apt-get install --yes chrony",
        )
    return ok("clock", "synchronised")
