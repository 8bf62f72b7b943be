"""A writer that finds out whether anything it wrote was lost: fio, on a raw block volume."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.e2e.demo.scene import Mismatch
from tests.e2e.demo.screen import Screen
from tests.e2e.lab.host import Host
from tests.e2e.lab.remote import Result

TOTAL_MIB = 24
COMMAND = (
    "fio --name=writer --filename={path} \\\n"
    f"    --rw=randwrite --bs=16k --size={TOTAL_MIB}m --rate_iops=150 --iodepth=8 \\\n"
    "    --ioengine=libaio --direct=1 --verify=crc32c --output-format=json"
)
"""Writes each block once, in random order, at a bounded rate; then reads all and compares."""

PATIENCE = 120.0
POLL_INTERVAL = 0.2
SECTORS_PER_MIB = 2048


@dataclass(frozen=True)
class Outcome:
    """How the writer fared."""

    error: int
    written: int
    read_back: int
    longest_pause: float
    """Seconds that the slowest write took."""

    @classmethod
    def parse(cls, report: str) -> Outcome:
        """Of fio's report in JSON."""
        job: dict[str, Any] = json.loads(report)["jobs"][0]
        return cls(
            error=job["error"],
            written=job["write"]["total_ios"],
            read_back=job["read"]["total_ios"],
            longest_pause=job["write"]["lat_ns"]["max"] / 1e9,
        )


class Writer:
    """fio at work on the disk `disk` of a host, which is published at `path`."""

    def __init__(self, host: Host, disk: str, path: str, screen: Screen) -> None:
        self._host = host
        self._disk = disk
        self._screen = screen
        self._before = self._sectors_written()
        self._started = time.monotonic()
        self._command = host.start("sh", "-c", COMMAND.format(path=path))

    def tell(self, text: str) -> None:
        """Show what happens, with the seconds since the writer started."""
        self._screen.progress(f"{time.monotonic() - self._started:6.1f} s  {text}")

    def wait_until(self, happened: Callable[[], bool], what: str) -> None:
        """Wait for something that is to happen while it writes. Raises Mismatch if it does not."""
        deadline = time.monotonic() + PATIENCE
        result: Result | None = None
        while not happened():
            if result:
                raise Mismatch(f"Before {what}, {_how_it_ended(result)}")
            if time.monotonic() > deadline:
                raise Mismatch(f"After {PATIENCE:.0f} s it has not happened that {what}.")
            result = self._result_within(POLL_INTERVAL)

    def wait_written(self, mib: int) -> None:
        """Wait until it has written so much, and tell."""
        what = f"{mib} of {TOTAL_MIB} MiB are written"
        self.wait_until(lambda: self._mib_written() >= mib, what)
        self.tell(what)

    def finish(self) -> Outcome:
        """Let it read back all that it wrote. Raises Mismatch if it ends badly."""
        self.tell("reading all of it back")
        result = self._command.wait(PATIENCE)
        if result.status != 0:
            raise Mismatch(_how_it_ended(result))
        self.tell("the writer has ended")
        return Outcome.parse(result.text)

    def _result_within(self, seconds: float) -> Result | None:
        try:
            return self._command.wait(seconds)
        except TimeoutError:
            return None

    def _mib_written(self) -> int:
        return (self._sectors_written() - self._before) // SECTORS_PER_MIB

    def _sectors_written(self) -> int:
        return int(self._host.read(f"/sys/block/{self._disk}/stat").split()[6])


def _how_it_ended(result: Result) -> str:
    complaint = result.stderr.decode(errors="replace").strip()
    return f"the writer ended with status {result.status}. {complaint}"
