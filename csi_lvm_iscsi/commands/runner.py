"""Starting one process and waiting for it, for a bounded time."""

import asyncio
import contextlib
import enum
import functools
import os
import shlex
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import structlog

from csi_lvm_iscsi.model.errors import DriverError, TookTooLong

_log = structlog.get_logger()

# How long a process that was killed may take to end, in seconds. One in uninterruptible sleep
# (state D) does not end at all; it is left to itself, so that it holds up nobody else.
_REAP_SECONDS = 1.0

# Debian's packages of what we run by its name.
_PACKAGES = {
    "lvm": "lvm2",
    "iscsiadm": "open-iscsi",
    "udevadm": "udev",
    "nsenter": "util-linux",
    "blkid": "util-linux",
    "mount": "mount",
    "umount": "mount",
    "mkfs.ext4": "e2fsprogs",
    "e2fsck": "e2fsprogs",
    "resize2fs": "e2fsprogs",
    "mkfs.xfs": "xfsprogs",
    "xfs_repair": "xfsprogs",
    "xfs_growfs": "xfsprogs",
}

# With the container of a role its cgroup is killed, whatever runs in it: runc does so where it has
# the host's processes, the kernel where memory is short (memory.oom.group). An lvm that is killed
# may leave its pool suspended. 0 is whoever writes (Linux, kernel/cgroup/cgroup.c).
_LEAVE_CONTAINER = '{ echo 0 >/sys/fs/cgroup/cgroup.procs; } 2>/dev/null; exec "$@"'
_NOT_FOUND = 127  # dash(1), of a program that is not there

_Output = asyncio.Future[tuple[bytes, bytes]]


class Where(enum.Enum):
    """In which mount and IPC namespaces a command runs."""

    HOST = "host"
    """Those of pid 1: lvm would wait for ever on udev's semaphores of another IPC namespace, and
    iscsiadm must be of the same version as the host's iscsid."""

    HERE = "here"
    """Our own: file system tools come with the image."""


@dataclass(frozen=True, slots=True)
class Completed:
    """A process that ended: its exit code (negative: the signal) and what it wrote."""

    argv: tuple[str, ...]
    code: int
    stdout: str
    stderr: str

    @property
    def command(self) -> str:
        """The command line, for messages."""
        return shlex.join(self.argv)

    def expected(self, codes: Sequence[int]) -> Self:
        """Itself. Raises CommandFailed where its exit code is not among `codes`."""
        if self.code not in codes:
            raise CommandFailed(self)
        return self


class CommandFailed(DriverError):
    """A command ended with an exit code that was not expected."""

    def __init__(self, completed: Completed) -> None:
        said = (completed.stderr or completed.stdout).strip() or "no output"
        super().__init__(f"`{completed.command}` failed with exit code {completed.code}: {said}")
        self.completed = completed


class Runner(Protocol):
    """Runs commands. The product has one (`ProcessRunner`); tests play back recorded ones."""

    async def run(
        self,
        *argv: str,
        where: Where,
        seconds: float,
        expect: Sequence[int] = (0,),
        kill: bool = True,
    ) -> Completed:
        """Run a command to its end and return what it said.

        `seconds` bounds it: past that its whole process group is killed or, without `kill`, left
        to end by itself. Raises CommandFailed for an exit code that is not in `expect`,
        TookTooLong past the bound, DriverError where the program is not there.
        """


class ProcessRunner:
    """Runs commands as processes of this machine."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """`environment`: what the commands have in theirs beside ours."""
        # lvm would complain of descriptors that it did not open (lvm(8)).
        self._environment = {
            "LC_ALL": "C",
            "LVM_SUPPRESS_FD_WARNINGS": "1",
            **(environment or {}),
        }
        self._left_running: set[_Output] = set()

    @functools.cached_property
    def _enter_host(self) -> tuple[str, ...]:
        return _enter_host()

    async def run(
        self,
        *argv: str,
        where: Where,
        seconds: float,
        expect: Sequence[int] = (0,),
        kill: bool = True,
    ) -> Completed:
        """Run a command; see Runner.run."""
        command = (*self._enter_host, *argv) if where is Where.HOST else argv
        # A session of its own: a plain kill would leave grandchildren, which hold the pipes open,
        # and the wait for their end would hang.
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
                env={**os.environ, **self._environment},
            )
        except OSError as error:
            raise _cannot_start(command[0], error.strerror or "") from error
        talking = asyncio.ensure_future(process.communicate())
        try:
            async with asyncio.timeout(seconds):
                stdout, stderr = await asyncio.shield(talking)
        except TimeoutError:
            raise TookTooLong(
                f"`{shlex.join(argv)}` did not end within {seconds:g} s and was "
                f"{'killed' if kill else 'left running'}; look for what it waits on (a hung disk, "
                "a stopped daemon), then call again."
            ) from None
        finally:
            if not talking.done():
                await self._part_with(process, talking, kill=kill)
        completed = Completed(
            argv,
            process.returncode or 0,
            stdout.decode(errors="replace"),
            stderr.decode(errors="replace"),
        )
        _log.debug("command", command=completed.command, code=completed.code)
        if command != argv and completed.code == _NOT_FOUND:
            raise _cannot_start(argv[0], "not found on the host")
        return completed.expected(expect)

    async def _part_with(
        self, process: asyncio.subprocess.Process, talking: _Output, *, kill: bool
    ) -> None:
        if kill:
            await _kill(process)
            talking.cancel()
        else:
            # asyncio kills the process of a transport that nobody refers to any more.
            self._left_running.add(talking)
            talking.add_done_callback(self._left_running.discard)


def _cannot_start(program: str, why: str) -> DriverError:
    return DriverError(
        f"`{program}` cannot be started ({why}): install the package "
        f"{_PACKAGES.get(program, 'that has it')}, or correct PATH, then call again."
    )


async def _kill(process: asyncio.subprocess.Process) -> None:
    """Kill a process with all its descendants that stayed in its session."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_REAP_SECONDS):
            await process.wait()


def _enter_host() -> tuple[str, ...]:
    """The prefix that enters pid 1's namespaces; none where we are in them already."""
    try:
        inside = all(
            Path(f"/proc/1/ns/{name}").readlink() == Path(f"/proc/self/ns/{name}").readlink()
            for name in ("mnt", "ipc")
        )
    except OSError as error:
        raise DriverError(
            f"The host's namespaces cannot be seen ({error}): run this role as root, and in "
            "a container with hostPID and privileges."
        ) from error
    if inside:
        return ()
    enter = ("nsenter", "--target=1", "--mount", "--ipc", "--cgroup", "--")
    return (*enter, "sh", "-c", _LEAVE_CONTAINER, "sh")
