"""Waiting for what is to happen, with a limit."""

from __future__ import annotations

import time
from collections.abc import Callable

PAUSE = 0.1


def await_that(happened: Callable[[], bool], otherwise: str, seconds: float = 30) -> None:
    """Wait until it happened. Fails after `seconds` and says what is `otherwise`."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, otherwise
        time.sleep(PAUSE)
