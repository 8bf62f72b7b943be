"""Processes of the builder that belong to a lab and live in its network."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from tests.e2e.lab.errors import LabError
from tests.e2e.lab.network import Network

KILL_TIMEOUT = 20.0
MARK = "LAB_DAEMON_OF"


class Daemons:
    """The processes whose environment names the lab: looked up each time, not remembered."""

    def __init__(self, lab_id: str, network: Network, directory: Path) -> None:
        self.directory = directory
        """Where they keep their files, and their logs as NAME.log."""
        self._mark = f"{MARK}={lab_id}"
        self._network = network

    def start(self, name: str, command: Sequence[str]) -> None:
        """Start one, without waiting for anything."""
        with self.log_path(name).open("ab") as log:
            # Forks, so that it is nobody's child here: whoever ends it, no zombie stays.
            subprocess.run(
                ["setsid", "--fork", *self._network.command("env", self._mark, *command)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                check=True,
            )

    def log_path(self, name: str) -> Path:
        return self.directory / f"{name}.log"

    def pids(self, name: str = "") -> list[int]:
        """Those that run, or those of one program."""
        return [
            pid
            for pid in (
                int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()
            )
            if self._is_ours(pid, name)
        ]

    def kill(self, name: str = "") -> None:
        """Kill them all, or those of one program, and wait until they are gone."""
        deadline = time.monotonic() + KILL_TIMEOUT
        while pids := self.pids(name):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if time.monotonic() > deadline:
                raise LabError(f"The processes {pids} do not die of SIGKILL: end them by hand.")
            time.sleep(0.02)

    def _is_ours(self, pid: int, name: str) -> bool:
        try:
            program = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:  # it ended meanwhile
            return False
        ours = os.fsencode(self._mark) in environment.split(b"\0")
        return ours and (not name or Path(os.fsdecode(program)).name == name)
