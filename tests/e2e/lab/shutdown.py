"""Shuts a lab host down in systemd's order: processes, file systems, power. Runs in the host.

As systemd-shutdown(8) does: SIGTERM to all, SIGKILL to those that stay, file systems unmounted or
else synced.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from pathlib import Path

PATIENCE = 10.0
POLL_INTERVAL = 0.1
POWER_OFF = 0x4321FEDC  # LINUX_REBOOT_CMD_POWER_OFF of reboot(2)
VOLUMES = "/dev/sd"


def main() -> None:
    """End everything; does not return."""
    keep = _our_own()
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in _others(keep):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)
        deadline = time.monotonic() + PATIENCE
        while _others(keep) and time.monotonic() < deadline:
            time.sleep(POLL_INTERVAL)
    for place in _mounted():
        subprocess.run(["umount", place], check=False)
    os.sync()
    ctypes.CDLL(None).reboot(POWER_OFF)


def _our_own() -> set[int]:
    """What the host ends with: its process 1, and the agent, by which this was asked for."""
    found, process = {1}, os.getpid()
    while process > 1:
        found.add(process)
        process = int(_status(process).rpartition(")")[2].split()[1])
    return found


def _others(keep: set[int]) -> list[int]:
    """All that run a program and are no part of the lab."""
    found = []
    for each in Path("/proc").iterdir():
        if not each.name.isdigit() or int(each.name) in keep:
            continue
        with contextlib.suppress(OSError):
            command = (each / "cmdline").read_bytes()
            # What starts services again is the lab's own, where systemd would start nothing more.
            if command and b"host.sh" not in command and " Z " not in _status(int(each.name)):
                found.append(int(each.name))
    return found


def _status(process: int) -> str:
    return Path(f"/proc/{process}/stat").read_text()


def _mounted() -> list[str]:
    """Where volumes are mounted; what was mounted last comes first."""
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return [line.split()[1] for line in reversed(lines) if line.startswith(VOLUMES)]


if __name__ == "__main__":
    main()
