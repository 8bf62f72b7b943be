"""Calls that reach another host than they are meant for: refused.

The hosts of a Kubernetes cluster share a certificate, and an address may be another host's by now.
A host that knows nothing of a volume answers that it is deleted, or that nobody has it.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from grpc import aio

from csi_lvm_iscsi.model.errors import Unavailable

_KEY = "csi-lvm-iscsi-host"
_Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Any]]


def meant_for(host: str) -> tuple[tuple[str, str], ...]:
    """The metadata of a call to this host."""
    return ((_KEY, host),)


class AddresseeInterceptor(aio.ServerInterceptor):
    """Refuses calls that are meant for another host; what names none is let through."""

    def __init__(self, host: str) -> None:
        self._host = host

    async def intercept_service(
        self, continuation: _Continuation, details: grpc.HandlerCallDetails
    ) -> Any:  # noqa: ANN401
        """Replace the handler where the call is not for us."""
        handler = await continuation(details)
        meant = [value for key, value in details.invocation_metadata or () if key == _KEY]
        host = str(meant[0]) if meant else self._host
        if handler is None or host == self._host:
            return handler

        async def refuse(_request: object, _context: object) -> None:
            raise Unavailable(
                f"This is storage host {self._host}, not {host}: the address is of another host by "
                "now; call again."
            )

        return grpc.unary_unary_rpc_method_handler(
            refuse,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )
