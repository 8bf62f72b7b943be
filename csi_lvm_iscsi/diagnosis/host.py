"""A host as a doctor sees it: its files, processes and commands. Nothing here changes anything."""

import asyncio
import contextlib
import ctypes
import itertools
import os
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from csi_lvm_iscsi.commands.runner import Completed, Runner, Where

_PROGRAM_DIRECTORIES = ("usr/sbin", "usr/bin", "sbin", "bin", "usr/local/sbin", "usr/local/bin")
COMMAND_SECONDS = 20.0
_CONNECT_SECONDS = 3.0
_LISTENING = "0A"  # TCP_LISTEN, include/net/tcp_states.h
_STOPPED = "T"
_UNINTERRUPTIBLE = "D"
_ENDED = ("Z", "X", "")  # its parent has not asked yet how it ended


@dataclass(frozen=True, slots=True)
class Process:
    """A process of the host."""

    pid: int
    name: str
    """The first 15 characters of its program's name (proc_pid_comm(5))."""

    argv: tuple[str, ...]
    state: str
    """One letter (proc_pid_stat(5))."""

    replaced: bool
    """Whether its program was replaced on the disk since it started."""

    @property
    def stopped(self) -> bool:
        """Whether a signal stopped it: it answers nobody until another lets it go on."""
        return self.state == _STOPPED

    @property
    def hangs(self) -> str:
        """Why it answers nobody now; empty where it may."""
        return {
            _STOPPED: "is stopped by a signal",
            _UNINTERRUPTIBLE: "waits in the kernel for a disk",
        }.get(self.state, "")


def clock_status() -> int:
    """The kernel's clock status (adjtimex(2), `status`), which is only read here."""
    timex = (ctypes.c_long * 64)()  # struct timex is shorter; modes, its first field, stays 0
    if ctypes.CDLL(None, use_errno=True).adjtimex(timex) < 0:
        raise OSError(ctypes.get_errno(), "adjtimex")
    # `status` is the first half of the sixth word, as `modes` is padded to one.
    return timex[5] & 0xFFFFFFFF


async def reach(portal: str) -> str:
    """Connect to `ADDRESS:PORT` and close at once; why that failed, empty where it did not."""
    address, _, port = portal.rpartition(":")
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(address.strip("[]"), int(port))
    except TimeoutError:
        return f"no answer within {_CONNECT_SECONDS:g} s"
    except (OSError, ValueError) as error:
        return (error.strerror if isinstance(error, OSError) else "") or str(error)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return ""


@dataclass(frozen=True, slots=True)
class Host:
    """The host that is looked at."""

    runner: Runner
    root: Path = field(default=Path("/proc/1/root"))
    """Its files: through process 1 they are the host's in a container, too. An absolute link there
    leads into our own root, so what may be one is only looked at, not followed."""

    own: Path = field(default=Path("/"))
    """The files that our own commands see (Where.HERE)."""

    clock_status: Callable[[], int] = clock_status
    reach: Callable[[str], Awaitable[str]] = reach
    statvfs: Callable[[Path], os.statvfs_result] = os.statvfs

    async def run(self, *argv: str, where: Where = Where.HOST) -> Completed:
        """Run a command that only looks; any exit code is an answer."""
        return await self.runner.run(
            *argv, where=where, seconds=COMMAND_SECONDS, expect=range(-64, 256)
        )

    def missing(self, *programs: str, where: Where = Where.HOST) -> list[str]:
        """Those of the programs that are not installed."""
        root = self.root if where is Where.HOST else self.own
        return [
            program
            for program in programs
            if not any(os.path.lexists(root / place / program) for place in _PROGRAM_DIRECTORIES)
        ]

    def read(self, path: str) -> str:
        """A small file; empty where it is not there or cannot be read."""
        try:
            return (self.root / path).read_text(errors="replace").strip()
        except OSError:
            return ""

    @property
    def has_systemd(self) -> bool:
        """Whether systemd is the init system (sd_booted(3))."""
        return (self.root / "run/systemd/system").is_dir()

    @property
    def in_container(self) -> bool:
        """Whether we run in a container on it: in another mount namespace than its process 1."""
        try:
            its = (self.root / "proc/1/ns/mnt").readlink()
            return its != (self.own / "proc/self/ns/mnt").readlink()
        except OSError:
            return False

    def identity(self) -> dict[str, str]:
        """What must differ between hosts: clones of one image share it."""
        return {
            "hostName": self.read("proc/sys/kernel/hostname"),
            "machineId": self.read("etc/machine-id"),
        }

    def processes(self, *names: str) -> list[Process]:
        """The processes with one of these names, or all, in the order of their ids."""
        found = (self._process(pid, names) for pid in self._pids())
        return [process for process in found if process is not None]

    def role(self, name: str) -> Process | None:
        """The process of a role of ours."""
        for process in self.processes():
            # As the installed command, or as `python -m csi_lvm_iscsi`.
            for program, role in itertools.pairwise(process.argv):
                if Path(program).name in ("csi-lvm-iscsi", "csi_lvm_iscsi") and role == name:
                    return process
        return None

    def listeners(self, port: int) -> list[tuple[str, Process | None]]:
        """Who listens on a TCP port: the address as the kernel writes it, and the process; None
        where none has the socket, as with the kernel's own target."""
        found = []
        for table in ("proc/1/net/tcp", "proc/1/net/tcp6"):
            for line in self.read(table).splitlines()[1:]:
                words = line.split()
                address, _, number = words[1].rpartition(":")
                if words[3] == _LISTENING and int(number, 16) == port:
                    found.append((address, self._owner(words[9])))
        return found

    def mount_type(self, path: Path) -> str:
        """The type of the file system that a path of the host is on."""
        best, kind = Path("/"), ""
        for line in self.read("proc/1/mountinfo").splitlines():
            fields = line.split(" ")
            target = Path(fields[4])
            if path.is_relative_to(target) and target.is_relative_to(best):
                best, kind = target, fields[fields.index("-", 6) + 1]
        return kind

    def free(self, path: Path) -> tuple[int, int]:
        """Free bytes and files (inodes; -1: without limit) of the file system of a path, or of its
        first parent that is there."""
        there = self.root / path.relative_to("/")
        while not there.exists():
            there = there.parent
        space = self.statvfs(there)
        return space.f_bavail * space.f_frsize, space.f_favail if space.f_files else -1

    def _pids(self) -> Iterator[int]:
        try:
            names = [path.name for path in (self.root / "proc").iterdir()]
        except OSError:
            return
        yield from sorted(int(name) for name in names if name.isdigit())

    def _process(self, pid: int, names: tuple[str, ...]) -> Process | None:
        name = self.read(f"proc/{pid}/comm")
        if not name or (names and name not in names):
            return None
        try:
            program = os.readlink(self.root / f"proc/{pid}/exe")  # noqa: PTH115 - " (deleted)" too
        except OSError:
            program = ""
        words = self.read(f"proc/{pid}/cmdline").strip("\0").split("\0")
        # The name stands in parentheses and may have blanks.
        state = "".join(self.read(f"proc/{pid}/stat").rpartition(")")[2].split()[:1])
        if state in _ENDED:
            return None
        return Process(pid, name, tuple(words), state, program.endswith(" (deleted)"))

    def _owner(self, inode: str) -> Process | None:
        for pid in self._pids():
            with contextlib.suppress(OSError):
                for descriptor in (self.root / f"proc/{pid}/fd").iterdir():
                    if str(descriptor.readlink()) == f"socket:[{inode}]":
                        return self._process(pid, ())
        return None
