"""The figures as tables."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from tests.e2e.bench.memory import Memory

Seconds = list[float]
Samples = dict[str, Seconds]
"""The seconds of each step, round by round."""


def attach(samples: Samples) -> Seconds:
    """Publish and stage together, round by round."""
    return [sum(pair) for pair in zip(samples["publish"], samples["stage"], strict=True)]


def ratio(ours: Seconds, bare: Seconds) -> float:
    """How many times as long as the bare commands we take, by the medians."""
    return median(ours) / median(bare)


def times(ours: Samples, bare: Samples) -> str:
    """Each step on both sides: median (least-most), in ms."""
    rows = [(step, ours[step], bare[step]) for step in ours]
    rows.insert(0, ("publish + stage", attach(ours), attach(bare)))
    return _table(
        ("ms: median (min-max)", "ours", "bare", "ours / bare"),
        [(name, _spread(a), _spread(b), f"{ratio(a, b):.2f}") for name, a, b in rows],
    )


def memories(empty: Memory, at_rest: dict[str, Memory], afterwards: dict[str, Memory]) -> str:
    """The roles beside the empty one, at rest and after the work.

    The proportional figure depends on the neighbours: compare it on one host only.
    """
    rows = [("empty role", _mib(empty), "")]
    rows += [(name, _mib(at_rest[name]), _mib(afterwards[name])) for name in at_rest]
    return _table(("MiB: resident (proportional)", "at rest", "afterwards"), rows)


def _spread(seconds: Seconds) -> str:
    low, middle, high = (1000 * value for value in (min(seconds), median(seconds), max(seconds)))
    return f"{middle:.0f} ({low:.0f}-{high:.0f})"


def _mib(memory: Memory) -> str:
    return f"{memory.resident / 1024:.1f} ({memory.proportional / 1024:.1f})"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (header, *rows)
    ]
    return "\n".join(lines)
