"""At most one storage role on a host, and none beside an lvm of an earlier one."""

import fcntl
import os
from pathlib import Path

from csi_lvm_iscsi.commands.waiting import until
from csi_lvm_iscsi.model.errors import DriverError, TookTooLong

_WAIT_SECONDS = 30.0
_MARK = "CSI_LVM_ISCSI_LOCK"
# lvm, maybe on its way into the host's namespaces; not a daemon that lvm starts, such as dmeventd,
# which has the mark too, and stays.
_PROGRAMS = ("lvm", "nsenter", "sh")
_PROC = Path("/proc")


async def hold(state_directory: Path) -> int:
    """Take the lock of the state directory, and return its descriptor, to be kept open.

    Where a role was killed while its lvcreate went on, the next one waits until that has ended;
    else its first report would lack the volume, and the call made again would make another. lvm
    closes descriptors that it did not open (lvm2, tools/lvmcmdline.c, _close_stray_fds), so it
    cannot inherit the lock: it is known by the `mark` in its environment. Raises DriverError where
    the lock stays taken, or an lvm stays.
    """
    descriptor = _open(state_directory)
    try:
        await until(lambda: _locked(descriptor), _WAIT_SECONDS, "")
    except TookTooLong:
        raise DriverError(
            f"Another instance runs on this host: it holds {state_directory}/lock. End it first "
            f"(`fuser {state_directory}/lock`)."
        ) from None
    try:
        await until(lambda: not _left(descriptor), _WAIT_SECONDS, "")
    except TookTooLong:
        left = ", ".join(map(str, _left(descriptor)))
        raise DriverError(
            f"An lvm that an earlier instance started still runs (process {left}): look for what "
            "it waits on (another lvm, a disk that hangs), and end that first."
        ) from None
    return descriptor


def mark(lock: int) -> dict[str, str]:
    """What a role that holds this lock has in the environment of its commands. By the inode: the
    directory may have another name in a container."""
    status = os.fstat(lock)
    return {_MARK: f"{status.st_dev}:{status.st_ino}"}


def _left(lock: int) -> list[int]:
    """The processes of lvm that earlier holders of the lock left."""
    ((name, value),) = mark(lock).items()
    marked = f"{name}={value}".encode()
    return [int(each.name) for each in _PROC.glob("[0-9]*") if _is_left(each, marked)]


def _is_left(process: Path, marked: bytes) -> bool:
    try:
        return (process / "comm").read_text().strip() in _PROGRAMS and marked in (
            process / "environ"
        ).read_bytes().split(b"\0")
    except OSError:
        return False  # it has ended meanwhile


def _open(state_directory: Path) -> int:
    state_directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    return os.open(state_directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
