"""Which processes end in the hosts during an operation, told by their kernels, not by the driver.

Process accounting (acct(2)) leaves out none, however short it lived.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from types import TracebackType
from typing import Self

from tests.e2e.lab.host import Host

# struct acct (linux/acct.h, version 2): ac_flag is its first byte, ac_comm has 17.
_RECORD_BYTES = 64
_NAME = slice(36, 53)
_AFORK = 1  # a fork that never became another program

_RECORDS = "/run/processes"
_SWITCH = """
import ctypes, sys
path = sys.argv[1].encode() or None
if path:
    open(path, "wb").close()
libc = ctypes.CDLL(None, use_errno=True)
if libc.acct(path):
    raise OSError(ctypes.get_errno(), "acct")
"""

ALIENS = {
    "tail": "reads the records",
    "mkdir": "makes directories, as kubelet would",
    "dmsetup": "is run by the host's udev rules for each change of a logical volume",
}
"""Programs that the driver has no reason to start, and why they run nevertheless."""

_DRIVER = "python"
"""What the driver's own processes are called: if one forks, it counts as it stands."""


class Processes:
    """Records the processes of hosts while its context lasts."""

    def __init__(self, hosts: Collection[Host]) -> None:
        self._read = dict.fromkeys(hosts, 0)

    def __enter__(self) -> Self:
        for host in self._read:
            _account(host, _RECORDS)
        self.take()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for host in self._read:
            _account(host, "")

    def take(self) -> Counter[str]:
        """How many of each name, as `storage lvm`, have ended since they were last taken."""
        ended: Counter[str] = Counter()
        for host, read in self._read.items():
            records = host.exec("tail", "-c", f"+{read + 1}", _RECORDS).check().stdout
            self._read[host] += len(records)
            ended.update(f"{host.identity.kind} {name}" for name in _programs(records))
        return ended


def _account(host: Host, path: str) -> None:
    """Have the host's kernel write its records to a new file; to none where there is no path."""
    host.exec("python3", "-S", "-c", _SWITCH, path).check()


def _programs(records: bytes) -> Iterator[str]:
    """The names in the records, without the aliens, kernel threads and udev's workers."""
    for start in range(0, len(records), _RECORD_BYTES):
        record = records[start : start + _RECORD_BYTES]
        name = record[_NAME].split(b"\0")[0].decode(errors="replace")
        if name not in ALIENS and (not record[0] & _AFORK or name == _DRIVER):
            yield name
