"""At most one operation on a volume at a time."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

from csi_lvm_iscsi.model.errors import Busy

# How long a call waits for upkeep; kubelet's and the sidecars' own timeouts are longer.
_PATIENCE_SECONDS = 8.0


class InFlight:
    """The volumes that are being worked on: by a call, or by upkeep that no one called.

    A second call is refused, not queued: CSI asks for ABORTED, and the sidecars and kubelet call
    again. For upkeep a call waits instead: its caller did nothing that could be in its way.
    """

    def __init__(self) -> None:
        self._held: dict[str, str] = {}
        self._upkeep: dict[str, asyncio.Event] = {}

    @contextlib.asynccontextmanager
    async def call(self, volume: str, operation: str) -> AsyncIterator[None]:
        """Hold `volume` (an id or a name) for a call. Raises Busy where another call holds it, or
        where upkeep does not let go of it within 8 s."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_SECONDS):
                while ended := self._upkeep.get(volume):
                    await ended.wait()
        with self._hold(volume, operation):
            yield

    @contextlib.contextmanager
    def upkeep(self, volume: str, work: str) -> Iterator[None]:
        """Hold `volume` for upkeep. Raises Busy where anything holds it: there is a next time."""
        with self._hold(volume, work):
            ended = self._upkeep[volume] = asyncio.Event()
            try:
                yield
            finally:
                del self._upkeep[volume]
                ended.set()

    @contextlib.contextmanager
    def _hold(self, volume: str, operation: str) -> Iterator[None]:
        running = self._held.get(volume)
        if running is not None:
            raise Busy(f"{running} of volume {volume} is still running; call again.")
        self._held[volume] = operation
        try:
            yield
        finally:
            del self._held[volume]
