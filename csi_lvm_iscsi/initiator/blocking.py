"""System calls that may hang in the kernel, bounded."""

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable
from typing import TypeVar

from csi_lvm_iscsi.model.errors import TookTooLong

T = TypeVar("T")


async def bounded(call: Callable[[], T], seconds: float, failure: str) -> T:
    """Make `call` in a thread of its own and return its result, or raise what it raises.

    Raises TookTooLong with the sentence `failure` after `seconds`. The thread is then left to
    itself, as nothing ends a call that sleeps uninterruptibly.
    """
    return await within(start(call), seconds, failure)


async def within(result: Awaitable[T], seconds: float, failure: str) -> T:
    """Await `result`. Raises TookTooLong with the sentence `failure` after `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            return await result
    except TimeoutError:
        raise TookTooLong(failure) from None


def start(call: Callable[[], T]) -> asyncio.Future[T]:
    """Make `call` in a thread of its own.

    Not `asyncio.to_thread`: its pool is small, so a few hung disks would fill it, and Python waits
    for its threads at exit.
    """
    loop = asyncio.get_running_loop()
    result: asyncio.Future[T] = loop.create_future()

    def settle(settler: Callable[[], None]) -> None:
        if not result.done():
            settler()

    def run() -> None:
        try:
            value = call()
        except BaseException as error:  # noqa: BLE001 - it is raised again, in the caller's thread
            caught = error
            settler = lambda: result.set_exception(caught)  # noqa: E731
        else:
            settler = lambda: result.set_result(value)  # noqa: E731
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(settle, settler)

    threading.Thread(target=run, daemon=True, name="blocking-call").start()
    return result
