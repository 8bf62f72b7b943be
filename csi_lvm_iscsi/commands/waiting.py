"""Bounded waiting for something outside to become so."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from csi_lvm_iscsi.model.errors import TookTooLong

T = TypeVar("T")

# sysfs and tgtd do not tell of changes, so they are asked: at first often, as most changes take
# some milliseconds, then ever more seldom.
_FIRST_PAUSE = 0.005
_LONGEST_PAUSE = 0.25


async def until(probe: Callable[[], T | None], seconds: float, failure: str) -> T:
    """Call `probe` until it returns something true, and return that.

    Raises TookTooLong with the sentence `failure` after `seconds`.
    """

    async def asked() -> T | None:
        return probe()

    return await until_async(asked, seconds, failure)


async def until_async(probe: Callable[[], Awaitable[T | None]], seconds: float, failure: str) -> T:
    """The same for a probe that is awaited."""
    pause = _FIRST_PAUSE
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not (found := await probe()):
        if loop.time() >= deadline:
            raise TookTooLong(failure)
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE)
    return found
