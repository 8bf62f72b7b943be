"""The version of the tgtd that runs, and what follows from it."""

import re
from pathlib import Path

import structlog

from csi_lvm_iscsi.commands.runner import Runner, Where
from csi_lvm_iscsi.model.errors import DriverError

DISCARDS_SINCE = (1, 0, 90)
"""From then on UNMAP is BLKDISCARD (fujita/tgt fa97d3d, usr/util.h, unmap_file_region). Before, it
is a punched hole, which fails on a device of dm-thin."""

_SECONDS = 10.0

_log = structlog.get_logger()


class RunningVersion:
    """The version of the tgtd that runs, to be asked when it is found running."""

    def __init__(self, runner: Runner, proc: Path = Path("/proc")) -> None:
        self._runner = runner
        self._proc = proc
        self._number: tuple[int, ...] = ()

    def discards(self) -> bool:
        """Whether this tgtd can hand discards on to the device; not where it is unknown."""
        return self._number >= DISCARDS_SINCE

    async def ask(self, pid: int) -> None:
        """Ask the program that the process runs (`tgtd --version`): the file of that name may be
        another one by now, after an upgrade. In the mount namespace of the process, whose libraries
        it needs. One that does not tell is logged, and passes for an old one."""
        number: tuple[int, ...] = ()
        try:
            program = f"/proc/{self._own_pid(pid)}/exe"
            completed = await self._runner.run(
                *("nsenter", f"--target={pid}", "--mount", "--", program, "--version"),
                where=Where.HERE,
                seconds=_SECONDS,
            )
            number = parse_version(completed.stdout)
        except (DriverError, OSError) as error:
            _log.warning("version of tgtd unknown: volumes take no discards", error=str(error))
        self._number = number

    def _own_pid(self, pid: int) -> int:
        """The id of a process in its own PID namespace, which /proc of its mounts has it by: in a
        container it is another (proc_pid_status(5), NSpid)."""
        status = (self._proc / str(pid) / "status").read_text()
        found = re.search(r"^NSpid:.*?(\d+)$", status, re.MULTILINE)
        return int(found[1]) if found else pid


def parse_version(text: str) -> tuple[int, ...]:
    """Read what `tgtd --version` says. Raises DriverError."""
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", text)
    if found is None:
        raise DriverError(f"`tgtd --version` said {text.strip()!r}, which is no version.")
    return tuple(map(int, found.groups()))
