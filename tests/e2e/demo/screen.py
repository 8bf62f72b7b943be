"""What the reader of the demo sees: chapters, sentences, calls with their time, and evidence."""

from __future__ import annotations

import contextlib
import os
import textwrap
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TextIO

WIDTH = 100
INDENT = "   "
TIME_COLUMN = 86
"""Where the time of a call ends."""

BOLD, RED, GREEN, CYAN, FAINT = "1", "31", "32", "36", "2"


@dataclass(frozen=True)
class Chapter:
    """A chapter and when it began, in seconds since the beginning."""

    title: str
    beginning: float


class Screen:
    """Writes the story to `out`, in at most WIDTH columns; in colours if it is a terminal."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._colours = out.isatty() and not os.environ.get("NO_COLOR")
        self._beginning = time.monotonic()
        self.chapters: list[Chapter] = []

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._beginning

    def chapter(self, title: str) -> None:
        """Begin the next chapter."""
        self.chapters.append(Chapter(title, self.elapsed))
        heading = f"{len(self.chapters)}. {title}"
        clock = f"[{self.elapsed:5.1f} s]"
        self.line()
        self.line(self._paint(BOLD, heading) + clock.rjust(WIDTH - len(heading)))

    def say(self, text: str) -> None:
        """Tell in plain sentences what happens next, and why."""
        self.line()
        for line in _wrap(text, INDENT):
            self.line(line)

    @contextlib.contextmanager
    def call(self, method: str, subject: str) -> Iterator[None]:
        """Show a CSI call: its name while it runs, then its time, or that it was refused."""
        started = time.monotonic()
        self._write(f"{INDENT}{self._paint(CYAN, method)} {subject}")
        column = len(INDENT) + len(method) + 1 + len(subject)
        try:
            yield
        except BaseException as error:
            ending = "refused" if isinstance(error, Exception) else "interrupted"
            self.line(self._paint(RED, ending.rjust(TIME_COLUMN - column)))
            raise
        milliseconds = (time.monotonic() - started) * 1000
        self.line(f"{milliseconds:,.0f} ms".rjust(TIME_COLUMN - column))

    def evidence(self, host: str, command: str, answer: Iterable[str]) -> None:
        """Show what was asked on a host and what it answered."""
        prompt = f"{host}$ "
        first, *rest = command.splitlines()
        self.line(f"{INDENT * 2}{self._paint(GREEN, prompt)}{first}")
        for line in rest:
            self.line(f"{INDENT * 2}{' ' * len(prompt)}{line}")
        for line in list(answer) or ["(nothing)"]:
            self.line(self._paint(FAINT, _cut(f"{INDENT * 2}{line}")))

    def quote(self, speaker: str, line: str) -> None:
        """Show a line that somebody said unasked."""
        self.line(_cut(f"{INDENT * 2}{self._paint(GREEN, f'{speaker}:')} {line}"))

    def progress(self, text: str) -> None:
        """Show what goes on while something takes seconds, or what the driver answered."""
        for line in _wrap(text, INDENT * 2):
            self.line(line)

    def table(self, rows: Iterable[tuple[str, ...]]) -> None:
        """Show rows of cells in columns."""
        rows = list(rows)
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            self.line(_cut(INDENT + "  ".join(cells).rstrip()))

    def proved(self, claim: str) -> None:
        """Show that a claim was checked and holds."""
        self.line(f"{INDENT}{self._paint(GREEN, 'ok')} {claim}")

    def failed(self, text: str) -> None:
        """Show why the story ends here."""
        self.line()
        for line in _wrap(text):
            self.line(self._paint(RED, line))

    def title(self, text: str) -> None:
        """Show a heading that is no chapter."""
        self.line()
        self.line(self._paint(BOLD, text))

    def line(self, text: str = "") -> None:
        """Show one line as it is."""
        self._write(f"{text}\n")

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()

    def _paint(self, colour: str, text: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colours else text


def _wrap(text: str, indent: str = "") -> list[str]:
    leading = indent + text[: len(text) - len(text.lstrip())]
    return textwrap.wrap(
        text.strip(),
        WIDTH,
        initial_indent=leading,
        subsequent_indent=leading,
        break_on_hyphens=False,
    )


def _cut(line: str) -> str:
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 3]}..."
