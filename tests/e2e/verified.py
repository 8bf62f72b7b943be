"""Verified writes to a raw block volume, from a compute host, while something happens to it."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any, Self

from tests.e2e.driver import Volume
from tests.e2e.lab.host import Host
from tests.e2e.lab.services import CHECKOUT

WRITER = f"cd {CHECKOUT} && exec {sys.executable} -S -m tests.e2e.verifying_writer"


@dataclass(frozen=True)
class Report:
    """What the writer tells of itself in the end: see tests/e2e/verifying_writer.py."""

    written: int
    compared: int
    lost: list[str]
    errors: list[str]
    slow: list[tuple[float, float]]

    @classmethod
    def parse(cls, text: str) -> Self:
        values: dict[str, Any] = json.loads(text)
        values["slow"] = [(began, took) for began, took in values["slow"]]
        return cls(**values)

    def check(self) -> Self:
        """Fails unless every write that was acknowledged was found again, and none failed."""
        assert (self.lost, self.errors) == ([], [])
        assert self.compared > 0
        return self

    def pauses(self, moments: list[float]) -> list[float]:
        """The longest write that was under way at each moment, or began before the next."""
        ends = [*moments[1:], float("inf")]
        return [
            max(
                (took for began, took in self.slow if begin <= began + took and began < end),
                default=0.0,
            )
            for begin, end in zip(moments, ends, strict=True)
        ]


class VerifiedWriter:
    """Writes to some MiBs of the volume until it is told to end."""

    def __init__(
        self, host: Host, volume: Volume, *, first_mib: int = 0, mib: int = 8, depth: int = 32
    ) -> None:
        self._host = host
        self._stop = f"/run/stop-writer-{first_mib}"
        arguments = [volume.data_path, first_mib, mib, depth, host.name, self._stop]
        host.exec("rm", "-f", self._stop).check()
        self._command = host.start("sh", "-c", f"{WRITER} {' '.join(map(str, arguments))}")

    def finish(self, seconds: float = 120) -> Report:
        """End it, after it has read everything again."""
        self._host.exec("touch", self._stop).check()
        return Report.parse(self._command.wait(seconds).check().text)

    def abandon(self) -> None:
        """Leave it to fail by itself."""
        self._host.exec("touch", self._stop).check()
        self._command.kill()
