"""Metrics that are read from a role's memory when somebody asks for them."""

import asyncio
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

_SECONDS = 5.0


def register(registry: CollectorRegistry, read: Callable[[], Iterable[Metric]]) -> None:
    """Have `read` give metrics at each scrape. To be called in the role's event loop, where `read`
    is called too: the scrape comes in a thread of the HTTP server, and there the role's data could
    change while it is read."""
    registry.register(_OnLoop(asyncio.get_running_loop(), read))


class _OnLoop(Collector):
    def __init__(
        self, loop: asyncio.AbstractEventLoop, read: Callable[[], Iterable[Metric]]
    ) -> None:
        self._loop = loop
        self._read = read

    def describe(self) -> Iterable[Metric]:
        """None: the registry would collect to learn the names, from the loop that must answer."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Raises TimeoutError, which fails the scrape, where the role does not answer."""

        async def read() -> list[Metric]:
            return list(self._read())

        return asyncio.run_coroutine_threadsafe(read(), self._loop).result(_SECONDS)
