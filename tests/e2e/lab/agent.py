"""The program inside each host that runs commands and relays the CSI sockets.

Run as `python -m tests.e2e.lab.agent ADDRESS`. It uses little of the standard library and no
asyncio, as every lab host pays for it in memory and boot time.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.e2e.lab import framing
from tests.e2e.lab.topology import AGENT_PORT, CSI_SOCKETS

SERVICES = Path("/run/lab/services")
"""Where host.sh keeps one file per service: its process id and how often it was restarted."""

CONNECT_TIMEOUT = 2.0
END_TIMEOUT = 10.0
UNIX_FLAGS, UNIX_PATH = 3, 7  # columns of /proc/net/unix (net/unix/af_unix.c, unix_seq_show)
LISTENS = "00010000"  # __SO_ACCEPTCON


class Execution:
    """One command, its three streams carried over one connection."""

    def __init__(self, connection: socket.socket, argv: list[str]) -> None:
        self.connection = connection
        self.process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        assert self.process.stdin
        assert self.process.stdout
        assert self.process.stderr
        self.stdin: int | None = self.process.stdin.fileno()
        self.outputs = {
            self.process.stdout.fileno(): framing.STDOUT,
            self.process.stderr.fileno(): framing.STDERR,
        }
        self.unwritten = bytearray()
        self.stdin_ended = False
        for fd in (self.stdin, *self.outputs):
            os.set_blocking(fd, False)

    def run(self) -> None:
        """Carry the streams until the command ends, or kill it when the client goes away."""
        pidfd = os.pidfd_open(self.process.pid)
        with self.process:
            try:
                self._carry(pidfd)
                framing.send_json(self.connection, framing.EXIT, self.process.wait())
            except (OSError, EOFError):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.process.pid, signal.SIGKILL)
            finally:
                os.close(pidfd)

    def _carry(self, pidfd: int) -> None:
        """Return when the command has ended and all it wrote was sent.

        Its end decides, not that of its pipes: a daemon it left behind may hold those for ever.
        """
        client = self.connection.fileno()
        poll = select.poll()
        for fd in (pidfd, *self.outputs):
            poll.register(fd, select.POLLIN)
        while True:
            self._watch_stdin(poll, client)
            events = dict(poll.poll())
            if events.get(client, 0) & ~select.POLLIN:
                raise EOFError("the client closed the connection")
            if client in events:
                self._take_stdin()
            if self.stdin in events:
                self._write_stdin()
            for fd in [fd for fd in self.outputs if fd in events]:
                if not self._forward_output(fd):
                    poll.unregister(fd)
            if pidfd in events:
                self._forward_the_rest()
                return

    def _watch_stdin(self, poll: select.poll, client: int) -> None:
        """Take more input from the client only when the command has read what came before."""
        if self.stdin is not None and self.unwritten:
            poll.register(self.stdin, select.POLLOUT)
            poll.register(client, select.POLLRDHUP)
            return
        if self.stdin is not None:
            with contextlib.suppress(KeyError):
                poll.unregister(self.stdin)
        if self.stdin_ended:
            self._close_stdin()
        poll.register(client, select.POLLIN | select.POLLRDHUP)

    def _take_stdin(self) -> None:
        kind, data = framing.receive(self.connection)
        if kind != framing.STDIN:
            raise EOFError(f"unexpected frame {kind!r}")
        self.stdin_ended = not data
        if self.stdin is not None:
            self.unwritten += data

    def _write_stdin(self) -> None:
        assert self.stdin is not None
        try:
            del self.unwritten[: os.write(self.stdin, self.unwritten)]
        except BlockingIOError:
            pass
        except BrokenPipeError:
            self.unwritten.clear()
            self.stdin_ended = True

    def _close_stdin(self) -> None:
        if self.stdin is not None and self.process.stdin is not None:
            self.stdin = None
            self.process.stdin.close()

    def _forward_output(self, fd: int) -> bool:
        """Send what the command wrote to `fd`; whether there was anything."""
        try:
            data = os.read(fd, framing.CHUNK)
        except BlockingIOError:
            return True
        if data:
            framing.send(self.connection, self.outputs[fd], data)
        return bool(data)

    def _forward_the_rest(self) -> None:
        for fd, kind in self.outputs.items():
            with contextlib.suppress(BlockingIOError):
                while data := os.read(fd, framing.CHUNK):
                    framing.send(self.connection, kind, data)


def serve_request(connection: socket.socket) -> None:
    """Answer the one request of an exec connection."""
    try:
        _, payload = framing.receive(connection)
        request = json.loads(payload)
        if "argv" in request:
            execute(connection, request["argv"])
        else:
            states = service_states(request["services"])
            framing.send_json(connection, framing.ANSWER, states)
    except (OSError, EOFError):
        pass  # the client gave up; nobody is left to tell


def execute(connection: socket.socket, argv: list[str]) -> None:
    """Run a command; one that cannot start ends like a shell's, with status 127."""
    try:
        execution = Execution(connection, argv)
    except OSError as error:
        message = f"{argv[0]}: {error.strerror}\n".encode(errors="surrogateescape")
        framing.send(connection, framing.STDERR, message)
        framing.send_json(connection, framing.EXIT, 127)
        return
    execution.run()


def service_states(endpoints: dict[str, str | None]) -> dict[str, dict[str, Any]]:
    """Of each service by name: process id (0: none), restarts, and whether it is ready."""
    states = {}
    for name, endpoint in endpoints.items():
        try:
            pid, restarts = map(int, (SERVICES / name).read_text().split())
        except (OSError, ValueError):
            pid, restarts = 0, 0
        running = pid > 0 and Path(f"/proc/{pid}").exists()
        ready = running and (endpoint is None or accepts_connections(endpoint))
        states[name] = {"pid": pid if running else 0, "restarts": restarts, "ready": ready}
    return states


def accepts_connections(endpoint: str) -> bool:
    """Whether somebody listens at `endpoint`, a unix socket's path or ADDRESS:PORT.

    A unix socket is only looked up: tgtd can spin for ever on a connection without a request.
    """
    if endpoint.startswith("/"):
        return endpoint in listening_unix_sockets()
    address, _, port = endpoint.rpartition(":")
    try:
        socket.create_connection((address, int(port)), CONNECT_TIMEOUT).close()
    except OSError:
        return False
    return True


def listening_unix_sockets() -> set[str]:
    """The paths of the unix sockets that somebody listens at."""
    rows = (line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:])
    # gRPC has three slashes of unix:/// in the name.
    listening = (row for row in rows if len(row) > UNIX_PATH and row[UNIX_FLAGS] == LISTENS)
    return {"/" + row[UNIX_PATH].lstrip("/") for row in listening}


def connect(path: str) -> socket.socket:
    """A connection to a unix socket."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(path)
    except OSError:
        connection.close()
        raise
    return connection


def relay(client: socket.socket, path: str) -> None:
    """Join a TCP connection with the unix socket at `path`, until both sides have closed."""
    try:
        server = connect(path)
    except OSError:
        return
    with server:
        answers = threading.Thread(target=copy, args=(server, client), daemon=True)
        answers.start()
        copy(client, server)
        answers.join()


def copy(source: socket.socket, sink: socket.socket) -> None:
    """Copy until the source ends, and end the sink too."""
    with contextlib.suppress(OSError):
        while data := source.recv(framing.CHUNK):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def serve_and_close(connection: socket.socket, serve: Callable[[socket.socket], None]) -> None:
    """Serve a connection to its end."""
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        serve(connection)
        end(connection)


def end(connection: socket.socket) -> None:
    """End a connection when the client has all that was sent to it.

    Closed while input is unread, it would be reset, and what the client has not got yet would be
    lost (tcp(7); net/ipv4/tcp.c, __tcp_close).
    """
    with contextlib.suppress(OSError):
        connection.settimeout(END_TIMEOUT)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(framing.CHUNK):
            pass


def listen(address: str, port: int, serve: Callable[[socket.socket], None]) -> None:
    """Serve each connection to `address`:`port` in a thread of its own, for ever."""
    listener = socket.create_server((address, port), backlog=128)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve_and_close, args=(connection, serve), daemon=True).start()


def main(address: str) -> None:
    """Listen at the host's management address."""
    for path, port in CSI_SOCKETS.values():
        relaying = (address, port, lambda client, path=path: relay(client, path))
        threading.Thread(target=listen, args=relaying, daemon=True).start()
    listen(address, AGENT_PORT, serve_request)


if __name__ == "__main__":
    main(sys.argv[1])
