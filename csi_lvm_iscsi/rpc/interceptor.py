"""What every call goes through: it runs to its end, its errors become statuses, it is logged and
measured. One place, so that no handler has to."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import structlog
from grpc import aio
from prometheus_client import CollectorRegistry, Histogram

from csi_lvm_iscsi.model.errors import DriverError
from csi_lvm_iscsi.rpc.errors import status_of

_log = structlog.get_logger()
# What identifies the object of a call. Nothing else of a request is logged: secrets are in there.
_LOGGED_FIELDS = ("name", "volume_id", "node_id", "staging_target_path", "target_path")

# Tells the client's own retries (gRFC A6) that the call was made: only lost ones are made again.
NO_RETRY = ("grpc-retry-pushback-ms", "-1")

_Handler = Callable[[Any, aio.ServicerContext[Any, Any]], Awaitable[Any]]


class CallInterceptor(aio.ServerInterceptor):
    """Wraps each unary call."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._seconds = Histogram(
            "csi_lvm_iscsi_call_seconds",
            "Time from a call's arrival to its answer, by method and gRPC status.",
            ("method", "status"),
            registry=registry,
            buckets=(0.005, 0.02, 0.1, 0.5, 1, 2, 5, 10, 30, 120),
        )
        self._running: set[asyncio.Task[Any]] = set()

    async def intercept_service(self, continuation: Any, details: Any) -> Any:  # noqa: ANN401
        """Replace the handler by one that is watched."""
        handler = await continuation(details)
        if handler is None or handler.unary_unary is None:
            return handler
        return grpc.unary_unary_rpc_method_handler(
            self._watched(details.method.rpartition("/")[2], handler.unary_unary),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def _watched(self, method: str, handler: _Handler) -> _Handler:
        async def call(request: Any, context: aio.ServicerContext[Any, Any]) -> Any:  # noqa: ANN401
            # A caller that gives up (kubelet after 2 minutes) must not stop a change half way: the
            # task goes on, with its locks held, to the end of its own bounds.
            task = asyncio.ensure_future(self._measured(method, handler, request, context))
            self._running.add(task)
            task.add_done_callback(self._ended)
            try:
                return await asyncio.shield(task)
            except Exception as error:  # noqa: BLE001  # every error becomes a status
                await context.abort(status_of(error), _message(error), (NO_RETRY,))

        return call

    async def _measured(
        self,
        method: str,
        handler: _Handler,
        request: Any,  # noqa: ANN401
        context: aio.ServicerContext[Any, Any],
    ) -> Any:  # noqa: ANN401
        """Make the call, and log and count how it ended, whether its caller still waits or not."""
        started = time.monotonic()
        with structlog.contextvars.bound_contextvars(method=method, **_described(request)):
            try:
                answer = await handler(request, context)
            except Exception as error:
                self._done(method, status_of(error), started, error)
                raise
            self._done(method, grpc.StatusCode.OK, started, None)
            return answer

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # it is logged; without this asyncio would complain as well

    def _done(
        self, method: str, status: grpc.StatusCode, started: float, error: Exception | None
    ) -> None:
        seconds = time.monotonic() - started
        self._seconds.labels(method, status.name).observe(seconds)
        fields = {"status": status.name, "ms": round(seconds * 1000)}
        if error is None:
            _log.info("call", **fields)
        elif isinstance(error, (DriverError, NotImplementedError)):
            _log.warning("call", **fields, error=str(error))
        else:
            _log.error("call", **fields, exc_info=error)

    async def finish(self) -> None:
        """Wait for the calls that go on although their callers have gone."""
        if self._running:
            await asyncio.wait(self._running)


def _described(request: Any) -> dict[str, str]:  # noqa: ANN401
    fields = type(request).DESCRIPTOR.fields_by_name
    return {
        field: getattr(request, field)
        for field in _LOGGED_FIELDS
        if field in fields and getattr(request, field)
    }


def _message(error: Exception) -> str:
    if isinstance(error, DriverError):
        return str(error)
    if isinstance(error, NotImplementedError):
        return "This driver does not have this method: see its capabilities."
    return f"This is a fault in csi-lvm-iscsi ({error!r}): see the log of this role."
