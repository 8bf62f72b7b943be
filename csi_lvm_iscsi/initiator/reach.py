"""Which portals answer: asked by a TCP connection, before iscsid tries for long."""

import asyncio
from collections.abc import Awaitable, Callable, Collection

from csi_lvm_iscsi.model import portals
from csi_lvm_iscsi.model.errors import Unavailable

# When one has answered, the others get so much longer: a dead one must not hold up the volume, and
# one that was slow is logged in to later.
_GRACE_SECONDS = 0.5
_ATTEMPT_SECONDS = 3.0
_PAUSE_SECONDS = 0.5

Probe = Callable[[str], Awaitable[bool]]


async def connects(portal: str) -> bool:
    """Whether a portal takes a TCP connection, from the network namespace of this process."""
    try:
        async with asyncio.timeout(_ATTEMPT_SECONDS):
            _, writer = await asyncio.open_connection(*portals.split(portal))
    except OSError:  # TimeoutError is one
        return False
    writer.close()
    return True


async def answering(probe: Probe, candidates: Collection[str], seconds: float) -> list[str]:
    """Those of the portals that answer, as soon as some do; the order stays.

    With `seconds` 0 they are asked once, and none may answer. Else they are asked again until one
    does; raises Unavailable after that time.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not (found := await _ask(probe, candidates)) and seconds:
        if loop.time() > deadline:
            raise Unavailable(
                f"None of the portals {', '.join(candidates)} answers: check that tgtd runs on the "
                "storage host and that this node reaches it."
            )
        await asyncio.sleep(_PAUSE_SECONDS)
    return found


async def _ask(probe: Probe, candidates: Collection[str]) -> list[str]:
    asked = {portal: asyncio.ensure_future(probe(portal)) for portal in candidates}
    pending = set(asked.values())
    grace: float | None = None
    try:
        while pending:
            done, pending = await asyncio.wait(
                pending, timeout=grace, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                break
            if any(each.result() for each in done):
                grace = _GRACE_SECONDS
    finally:
        for each in pending:
            each.cancel()
    return [portal for portal, each in asked.items() if each.done() and each.result()]
