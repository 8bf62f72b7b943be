"""A user-mode Linux kernel as a process group of the builder."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.e2e.lab import xstate
from tests.e2e.lab.errors import LabError
from tests.e2e.lab.prerequisites import CACHE

KERNEL = "linux.uml"
START_TIMEOUT = 5.0
KILL_TIMEOUT = 20.0

SHARED_MEMORY = Path("/dev/shm")
SHARED_MEMORY_FACTOR = 4
"""It must have this much more room than one host needs, as the host's neighbours fill it too."""


class Machine:
    """The processes whose kernel command line carries all of `marks`.

    They are looked up each time, not remembered: so nothing recorded can be lost with a killed
    `up`, or name a process id that somebody else has by now.
    """

    def __init__(self, *marks: str) -> None:
        self.marks = marks

    def start(
        self, namespace: str, arguments: list[str], console: Path, scratch: Path, memory_mib: int
    ) -> None:
        """Boot a kernel inside a network namespace, its console appended to a file.

        `scratch` takes the kernel's own files: its memory, if /dev/shm cannot.
        """
        scratch.mkdir(parents=True, exist_ok=True)
        environment = os.environ | xstate.environment(CACHE)
        if _fits_shared_memory(memory_mib):
            environment.pop("TMPDIR", None)
        else:
            environment["TMPDIR"] = str(scratch)
        command = [
            "prlimit",
            f"--nofile={_open_files_limit()}",
            "nsenter",
            f"--net=/run/netns/{namespace}",
            KERNEL,
            *arguments,
            f"mem={memory_mib}M",
            f"uml_dir={scratch}/",
            *self.marks,
        ]
        with console.open("ab") as output:
            # Forks, so the kernel is nobody's child here: whoever ends it, no zombie stays.
            subprocess.run(
                ["setsid", "--fork", *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                check=True,
                start_new_session=True,
            )
        self._await_start(console)

    def _await_start(self, console: Path) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while self.pid() is None:
            if time.monotonic() > deadline:
                raise LabError(f"The kernel did not start; {console} says why.")
            time.sleep(0.01)

    def pid(self) -> int | None:
        """The kernel's process id, or None when it does not run."""
        return next((pid for pid, group in self._processes() if pid == group), None)

    def kill(self) -> None:
        """Kill every process at once, as a power cut would, and wait until they are gone."""
        deadline = time.monotonic() + KILL_TIMEOUT
        while groups := self._groups():
            for group in groups:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(group, signal.SIGKILL)
            if time.monotonic() > deadline:
                raise LabError(
                    f"The process groups {groups} do not die of SIGKILL: end them by "
                    "hand, then run `down`."
                )
            time.sleep(0.02)

    def memory_kib(self) -> int:
        """How much of its memory file the kernel has touched: nearly all that the host takes.

        Sums over its processes mislead: some are the same address space under another id.
        """
        try:
            files = [descriptor.stat() for descriptor in Path(f"/proc/{self.pid()}/fd").iterdir()]
        except OSError:  # it stopped meanwhile
            return 0
        # It has no name; the other deleted files it may hold open are far smaller.
        unnamed = (file for file in files if stat.S_ISREG(file.st_mode) and file.st_nlink == 0)
        return max((file.st_blocks * 512 // 1024 for file in unnamed), default=0)

    def _groups(self) -> set[int]:
        return {group for _, group in self._processes()}

    def _processes(self) -> Iterator[tuple[int, int]]:
        """Process id and group of the kernel, its helpers and the stubs that run its programs."""
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                with contextlib.suppress(OSError):  # it ended meanwhile
                    arguments = (entry / "cmdline").read_text(errors="replace").split("\0")
                    if self._matches(arguments):
                        yield int(entry.name), os.getpgid(int(entry.name))

    def _matches(self, arguments: list[str]) -> bool:
        program = Path(arguments[0]).name
        return program in ("setsid", "prlimit", "nsenter", KERNEL) and set(self.marks) <= set(
            arguments
        )


def _open_files_limit() -> int:
    """As many as allowed: hostfs keeps a file open for each one the host has in its cache."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def _fits_shared_memory(memory_mib: int) -> bool:
    """Whether the kernel can map its memory, executable, from /dev/shm."""
    try:
        room = os.statvfs(SHARED_MEMORY)
    except OSError:
        return False
    if room.f_flag & os.ST_NOEXEC:
        return False
    return room.f_bavail * room.f_frsize >= SHARED_MEMORY_FACTOR * memory_mib * 2**20
