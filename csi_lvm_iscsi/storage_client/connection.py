"""The connection to a storage host: found dead soon, made again, and anew where the host is now."""

import asyncio
import json

import grpc
from grpc import aio

from csi_lvm_iscsi.rpc import server, tls
from csi_lvm_iscsi.rpc.pb import storage_pb2_grpc

CHANNEL_OPTIONS = [
    # A host without power sends nothing: without these pings a call would wait for its deadline.
    ("grpc.keepalive_time_ms", server.KEEPALIVE_MILLISECONDS),
    ("grpc.keepalive_timeout_ms", 3000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # gRPC takes the smallest for the time that connecting may take, too.
    ("grpc.min_reconnect_backoff_ms", 3000),
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # Every verb is idempotent. A connection that a rebooted host has forgotten breaks at the first
    # call over it: that call is made again. What a server answered is not (rpc/interceptor.py).
    (
        "grpc.service_config",
        json.dumps(
            {
                "methodConfig": [
                    {
                        "name": [{}],
                        "retryPolicy": {
                            "maxAttempts": 3,
                            "initialBackoff": "0.1s",
                            "maxBackoff": "1s",
                            "backoffMultiplier": 3,
                            "retryableStatusCodes": ["UNAVAILABLE"],
                        },
                    }
                ]
            }
        ),
    ),
]


class Connection:
    """A channel to where a storage host is now, with the certificates of now."""

    def __init__(self, server_name: str, credentials: tls.ClientCredentials, last: float) -> None:
        """`server_name`: in the server's certificate. `last`: how long calls under way may go on
        over a channel that is given up, in seconds."""
        # The certificate names the host, whatever its address is today.
        self._options = [("grpc.ssl_target_name_override", server_name), *CHANNEL_OPTIONS]
        self._credentials = credentials
        self._last = last
        self._of: tuple[str, grpc.ChannelCredentials] | None = None
        self._channel: aio.Channel | None = None
        self._stub: storage_pb2_grpc.StorageStub
        self._closing: set[asyncio.Task[None]] = set()

    def stub(self, address: str) -> storage_pb2_grpc.StorageStub:
        """The verbs, over a channel to this address."""
        credentials = self._credentials.current()
        if self._channel is None or self._of != (address, credentials):
            self.close()
            self._of = (address, credentials)
            self._channel = aio.secure_channel(address, credentials, options=self._options)
            self._stub = storage_pb2_grpc.StorageStub(self._channel)
        return self._stub

    def close(self) -> None:
        """Give the channel up; calls under way go on over it."""
        if self._channel is not None:
            closing = asyncio.ensure_future(self._channel.close(self._last))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
            self._channel = None
