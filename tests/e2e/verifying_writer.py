"""Runs in a compute host: many writes in flight, each found again before it is overwritten.

Unlike fio it reads each block before it writes it anew, and compares it with what was acknowledged
last: so not one lost write is missed. Prints what came of it as JSON when the file STOP appears.
"""

from __future__ import annotations

import json
import mmap
import os
import random
import struct
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

BLOCK = 4096
MIB = 1 << 20
HEADER = struct.Struct("=QQ16s")
SLOW_SECONDS = 0.05
# Between two writes of a thread: the builder has other work too.
PAUSE_SECONDS = 0.01


@dataclass
class Outcome:
    """What one thread did and found."""

    written: int = 0
    compared: int = 0
    lost: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    slow: list[tuple[float, float]] = field(default_factory=list)
    """When each slow write began, by the clock, and how long it took: seconds."""


class Worker(threading.Thread):
    """One write after the other to blocks that are its own."""

    def __init__(self, path: str, blocks: Sequence[int], name: bytes, stop: Path) -> None:
        super().__init__()
        self._file = os.open(path, os.O_RDWR | os.O_DIRECT)
        self._acknowledged: dict[int, int] = {}
        self._blocks = blocks
        self._writer_name = name
        self._stop_file = stop
        self._buffer = mmap.mmap(-1, BLOCK)
        self.outcome = Outcome()

    def run(self) -> None:
        try:
            while not self._stop_file.exists():
                block = random.choice(self._blocks)  # noqa: S311
                self._compare(block)
                self._write(block)
                time.sleep(PAUSE_SECONDS)
            for block in self._acknowledged:
                self._compare(block)
        except OSError as error:
            self.outcome.errors.append(str(error))

    def _write(self, block: int) -> None:
        sequence = self._acknowledged.get(block, 0) + 1
        self._buffer[:] = self._content(block, sequence)
        began, since = time.time(), time.monotonic()
        os.pwritev(self._file, [self._buffer], block * BLOCK)
        took = time.monotonic() - since
        self._acknowledged[block] = sequence
        self.outcome.written += 1
        if took > SLOW_SECONDS:
            self.outcome.slow.append((began, took))

    def _compare(self, block: int) -> None:
        sequence = self._acknowledged.get(block)
        if sequence is None:
            return
        os.preadv(self._file, [self._buffer], block * BLOCK)
        self.outcome.compared += 1
        if self._buffer[:] != self._content(block, sequence):
            self.outcome.lost.append(
                f"block {block}: {HEADER.unpack_from(self._buffer)}, written was {sequence}"
            )

    def _content(self, block: int, sequence: int) -> bytes:
        return HEADER.pack(block, sequence, self._writer_name) * (BLOCK // HEADER.size)


def main() -> None:
    path, first_mib, size_mib, depth, name, stop = sys.argv[1:]
    first, count = int(first_mib) * MIB // BLOCK, int(size_mib) * MIB // BLOCK
    workers = [
        Worker(path, range(first + n, first + count, int(depth)), name.encode(), Path(stop))
        for n in range(int(depth))
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    outcomes = [worker.outcome for worker in workers]
    print(
        json.dumps(
            {
                "written": sum(each.written for each in outcomes),
                "compared": sum(each.compared for each in outcomes),
                "lost": [line for each in outcomes for line in each.lost],
                "errors": [line for each in outcomes for line in each.errors],
                "slow": sorted(pair for each in outcomes for pair in each.slow),
            }
        )
    )


if __name__ == "__main__":
    main()
