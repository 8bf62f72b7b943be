"""Serving gRPC until the process is told to end."""

import asyncio
import contextlib
import os
import signal
import stat
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path

import grpc
import structlog
from grpc import aio
from prometheus_client import CollectorRegistry

from csi_lvm_iscsi.model.errors import DriverError
from csi_lvm_iscsi.rpc.interceptor import CallInterceptor

_log = structlog.get_logger()
_GRACE_SECONDS = 20.0
# How often our own clients ask for a sign of life; a server would close on them otherwise.
KEEPALIVE_MILLISECONDS = 5000
_OPTIONS = [
    ("grpc.http2.min_ping_interval_without_data_ms", KEEPALIVE_MILLISECONDS // 2),
    ("grpc.keepalive_permit_without_calls", 1),
    # A second instance must fail to start, not take half of the calls.
    ("grpc.so_reuseport", 0),
]


async def serve(
    endpoint: str,
    add_services: Callable[[aio.Server], None],
    registry: CollectorRegistry,
    credentials: grpc.ServerCredentials | None = None,
    *,
    beside: Sequence[Callable[[], Coroutine[None, None, None]]] = (),
    interceptors: Sequence[aio.ServerInterceptor] = (),
) -> None:
    """Serve `endpoint`, `unix:///path` or `host:port`, until SIGTERM or SIGINT.

    `beside` run as long as the server does, and not before the endpoint is ours alone; an error
    of one ends the server. Calls that have begun go on first, for 40 s at most. Raises DriverError
    where the endpoint cannot be served.
    """
    interceptor = CallInterceptor(registry)
    server = await listen(endpoint, add_services, [interceptor, *interceptors], credentials)
    _log.info("serving", endpoint=endpoint)
    try:
        await until_told(beside)
    finally:
        await server.stop(_GRACE_SECONDS)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GRACE_SECONDS):
                await interceptor.finish()


async def listen(
    endpoint: str,
    add_services: Callable[[aio.Server], None],
    interceptors: Sequence[aio.ServerInterceptor] = (),
    credentials: grpc.ServerCredentials | None = None,
) -> aio.Server:
    """Start a server, and return it. Raises DriverError where the endpoint cannot be served."""
    server = aio.server(interceptors=interceptors, options=_OPTIONS)
    add_services(server)
    if endpoint.startswith("unix://"):
        os.umask(0o077)  # whoever reaches the socket is obeyed
        _clear_socket(Path(endpoint.removeprefix("unix://")))
    _bind(server, endpoint, credentials)
    await server.start()
    return server


async def until_told(beside: Sequence[Callable[[], Coroutine[None, None, None]]]) -> None:
    """Wait for SIGTERM or SIGINT. Raises what one of `beside` raises."""
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    tasks: set[asyncio.Task[object]] = {asyncio.create_task(told.wait())}
    tasks.update(asyncio.create_task(each()) for each in beside)
    ended, running = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in running:
        task.cancel()
    for task in ended:
        task.result()


def _bind(server: aio.Server, endpoint: str, credentials: grpc.ServerCredentials | None) -> None:
    try:
        if credentials is None:
            server.add_insecure_port(endpoint)
        else:
            server.add_secure_port(endpoint, credentials)
    except RuntimeError as error:
        raise DriverError(
            f"{endpoint} cannot be listened on: something else does already, or the address is "
            "not of this host."
        ) from error


def _clear_socket(path: Path) -> None:
    """Make the socket's directory, and remove what a killed process left in it."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()
