"""What the roles keep in memory, beside a role that does nothing."""

from __future__ import annotations

import contextlib
import queue
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from tests.e2e.lab.host import Host
from tests.e2e.lab.lab import Lab
from tests.e2e.lab.services import ENVIRONMENT

ROLES = ("storage", "controller", "node")
START_TIMEOUT = 60.0


@dataclass(frozen=True)
class Memory:
    """A process's memory in KiB."""

    resident: int
    """VmRSS: all its pages that are in memory."""

    proportional: int
    """Pss: the same, but of a page that others use too only its share."""


def of_roles(lab: Lab) -> dict[str, Memory]:
    """The memory of each role where it runs first."""
    found: dict[str, Memory] = {}
    for host in lab.hosts.values():
        for name, state in host.service_states().items():
            if name in ROLES:
                found.setdefault(name, _measure(host, state.pid))
    return found


def of_empty_role(host: Host) -> Memory:
    """The memory of a role that does nothing, started just for this."""
    with _empty_role(host) as pid:
        return _measure(host, pid)


@contextlib.contextmanager
def _empty_role(host: Host) -> Iterator[int]:
    environment = [f"{name}={value}" for name, value in ENVIRONMENT.items()]
    output: queue.Queue[bytes] = queue.Queue()
    command = host.start(
        *("env", "--chdir=/", *environment),
        *(sys.executable, "-m", "tests.e2e.bench.empty_role", "/run/empty-role.sock"),
        stdout=output.put,
    )
    try:
        yield int(output.get(timeout=START_TIMEOUT))
    finally:
        command.kill()


def _measure(host: Host, pid: int) -> Memory:
    text = host.exec("cat", f"/proc/{pid}/status", f"/proc/{pid}/smaps_rollup").check().text
    return Memory(_kib("VmRSS", text), _kib("Pss", text))


def _kib(field: str, text: str) -> int:
    match = re.search(rf"^{field}:\s+(\d+) kB$", text, re.MULTILINE)
    assert match, f"no {field} in {text}"
    return int(match[1])
