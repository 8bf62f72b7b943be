"""How any demo is told: one at a time, with a readable end whatever happens."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.e2e.demo.scene import Mismatch
from tests.e2e.demo.screen import Screen
from tests.e2e.driver import Refused
from tests.e2e.lab.errors import LabError


def keep_option(program: str, description: str | None) -> bool:
    """Whether the command line says that the lab is to stay up; it has no other option."""
    parser = argparse.ArgumentParser(
        prog=program,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--keep", action="store_true", help="leave the lab up, to look around")
    return bool(parser.parse_args().keep)


def perform(directory: Path, show: Callable[[Screen], None], where_next: str) -> int:
    """Show it on the terminal, with its lab in the directory; the exit status."""
    screen = Screen(sys.stdout)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        with _only_demo(directory):
            show(screen)
    except (LabError, Mismatch, Refused, TimeoutError, AssertionError) as error:
        screen.failed(f"The demo failed: {error}")
        return 1
    except KeyboardInterrupt:
        screen.failed("Interrupted.")
        return 130
    except BrokenPipeError:  # nobody reads any more; Python's own flush at the end would complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    _sum_up(screen)
    screen.line(where_next)
    return 0


@contextlib.contextmanager
def _only_demo(directory: Path) -> Iterator[None]:
    """Keep other demos out, whose lab would be this one's. LabError if there is one."""
    # An abstract socket leaves nothing behind, however its process ends.
    with socket.socket(socket.AF_UNIX) as lock:
        try:
            lock.bind(f"\0{directory}")
        except OSError:
            raise LabError("Another demo is running here: wait for it to end.") from None
        yield


def _sum_up(screen: Screen) -> None:
    screen.title("What was shown")
    ends = [*(chapter.beginning for chapter in screen.chapters[1:]), screen.elapsed]
    rows = [
        (str(number), chapter.title, f"{end - chapter.beginning:6.1f} s")
        for number, (chapter, end) in enumerate(zip(screen.chapters, ends, strict=True), start=1)
    ]
    screen.table([*rows, ("", "All was as told, in", f"{screen.elapsed:6.1f} s")])
