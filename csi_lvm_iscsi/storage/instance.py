"""At most one storage role on a host, and none beside an lvm of an earlier one."""

import fcntl
import os
from pathlib import Path

from csi_lvm_iscsi.commands.waiting import until
from csi_lvm_iscsi.model.errors import DriverError, TookTooLong

_WAIT_SECONDS = 30.0


async def hold(state_directory: Path) -> int:
    """Take the lock of the state directory, and return its descriptor, to be kept open.

    Every lvm that the role starts inherits the descriptor and with it the lock (flock(2): it is
    the open file's). So where a role was killed while its lvcreate went on, the next one waits
    until that has ended; else its first report would lack the volume, and the call made again
    would make another. Raises DriverError where the lock stays taken.
    """
    descriptor = _open(state_directory)
    try:
        await until(lambda: _locked(descriptor), _WAIT_SECONDS, "")
    except TookTooLong:
        raise DriverError(
            f"Another instance runs on this host, or an lvm that an earlier one left: it holds "
            f"{state_directory}/lock. End it first (`fuser {state_directory}/lock`)."
        ) from None
    return descriptor


def _open(state_directory: Path) -> int:
    state_directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    return os.open(state_directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
