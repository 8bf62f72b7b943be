"""/metrics and /healthz, over HTTP, in threads beside the event loop that they are about."""

import asyncio
import contextlib
import math
import socket
import threading
import time
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from csi_lvm_iscsi.model.errors import DriverError

_ANSWER_SECONDS = 3.0
# How long a client may take, from its connection to the end of the answer, and how many may ask at
# once: the port is open to the network.
_REQUEST_SECONDS = 10.0
_AT_ONCE = 8


@contextlib.contextmanager
def serving(host: str, port: int, registry: CollectorRegistry) -> Iterator[int]:
    """Serve while the context lasts, for the event loop that runs now; gives the port, chosen by
    the kernel where 0 is asked for. `host` may be empty: all addresses, IPv4 and IPv6. Raises
    DriverError where that cannot be listened on."""
    try:
        server = _Server(host, port, registry, asyncio.get_running_loop())
    except (OSError, OverflowError) as error:
        raise DriverError(
            f"--metrics: {host or 'any address'}, port {port}, cannot be listened on ({error}): "
            "something else does already, or the address is not of this host."
        ) from error
    threading.Thread(target=server.serve_forever, daemon=True, name="http").start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(
        self, host: str, port: int, registry: CollectorRegistry, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.registry = registry
        self.loop = loop
        self._turns = threading.BoundedSemaphore(_AT_ONCE)
        self._lock = threading.Lock()
        self._opened: dict[object, float] = {}  # when each connection was; the oldest is the first
        both = not host and socket.has_dualstack_ipv6()
        if both or ":" in host:
            self.address_family = socket.AF_INET6
        super().__init__((host, port), _Handler, bind_and_activate=False)
        try:
            if both:
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            self.server_bind()
            self.server_activate()
        except BaseException:
            self.server_close()
            raise

    def server_bind(self) -> None:
        """Bind, without HTTPServer's look for the host's name, which may wait for a DNS server."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def process_request(self, request: object, client_address: object) -> None:
        """Serve a connection in a thread of its own. Where there are too many, the oldest is cut
        for it: were the new one refused, those who connect and say nothing would make kubelet's
        probe fail, which restarts the role."""
        if not self._turns.acquire(blocking=False):
            self._cut_opened_before(math.inf, at_most=1)
            # Its thread ends at once, unless it waits for the event loop.
            if not self._turns.acquire(timeout=_ANSWER_SECONDS):
                self.shutdown_request(request)  # type: ignore[arg-type]
                return
        with self._lock:
            self._opened[request] = time.monotonic()
        super().process_request(request, client_address)  # type: ignore[arg-type]

    def service_actions(self) -> None:
        """Cut who takes too long; called twice a second. A timeout of the socket would begin anew
        with each byte."""
        self._cut_opened_before(time.monotonic() - _REQUEST_SECONDS)

    def _cut_opened_before(self, before: float, at_most: int = _AT_ONCE) -> None:
        """End connections, the oldest first. Their threads then read the end, and close them."""
        with self._lock:
            old = [each for each, opened in self._opened.items() if opened < before][:at_most]
            for request in old:
                del self._opened[request]
                with contextlib.suppress(OSError):  # the client has ended it
                    request.shutdown(socket.SHUT_RDWR)  # type: ignore[attr-defined]

    def close_request(self, request: object) -> None:
        """Close a connection, which is not to be cut any more."""
        with self._lock:
            self._opened.pop(request, None)
        super().close_request(request)  # type: ignore[arg-type]

    def process_request_thread(self, request: object, client_address: object) -> None:
        """Serve a connection, in its thread."""
        try:
            super().process_request_thread(request, client_address)  # type: ignore[arg-type]
        finally:
            self._turns.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: the client went away."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        """Answer."""
        match self.path.partition("?")[0]:
            case "/healthz":
                self._health()
            case "/metrics":
                self._metrics()
            case _:
                self._answer(HTTPStatus.NOT_FOUND, b"There are /metrics and /healthz.\n")

    def _health(self) -> None:
        """Whether the event loop answers, and nothing else: where lvm or tgtd hang, an end of this
        process would help nobody."""
        answered = threading.Event()
        with contextlib.suppress(RuntimeError):  # the loop was closed
            self.server.loop.call_soon_threadsafe(answered.set)
        if answered.wait(_ANSWER_SECONDS):
            self._answer(HTTPStatus.OK, b"ok\n")
        else:
            said = f"The event loop did not answer within {_ANSWER_SECONDS:g} s: restart this role."
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, f"{said}\n".encode())

    def _metrics(self) -> None:
        encode, kind = choose_encoder(self.headers.get("Accept", ""))
        try:
            text = encode(self.server.registry)
        except TimeoutError:
            said = b"The event loop does not answer: see /healthz.\n"
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, said)
        else:
            self._answer(HTTPStatus.OK, text, kind)

    def _answer(self, status: HTTPStatus, body: bytes, kind: str = "text/plain") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Nothing: each scrape and probe would be a line."""
