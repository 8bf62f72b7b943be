"""The builder's side of the agent: commands that run in a host."""

from __future__ import annotations

import contextlib
import io
import json
import os
import select
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

from tests.e2e.lab import framing
from tests.e2e.lab.errors import HostGone, LabError


@dataclass(frozen=True)
class Result:
    """How a command ended. A negative status is the signal that killed it; 127: not found."""

    argv: tuple[str, ...]
    status: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """Standard output as text, without white space around it."""
        return self.stdout.decode(errors="replace").strip()

    def check(self) -> Result:
        """Itself; LabError if the command did not end with status 0."""
        if self.status != 0:
            complaint = self.stderr.decode(errors="replace").strip()
            raise LabError(f"`{' '.join(self.argv)}` ended with status {self.status}: {complaint}")
        return self


class Command:
    """A command that runs in a host while two threads carry its streams.

    It is killed, with its process group, when this side closes the connection or dies.
    """

    def __init__(
        self,
        connection: socket.socket,
        kernel_pid: int,
        argv: tuple[str, ...],
        *,
        stdin: BinaryIO,
        stdout: Callable[[bytes], object] | None = None,
        stderr: Callable[[bytes], object] | None = None,
    ) -> None:
        """Start it. `stdin` is read to its end and closed. Output goes to the given functions, or
        else is collected for the result."""
        self.argv = argv
        self._connection = connection
        self._collected = {framing.STDOUT: io.BytesIO(), framing.STDERR: io.BytesIO()}
        self._sinks = {
            framing.STDOUT: stdout or self._collected[framing.STDOUT].write,
            framing.STDERR: stderr or self._collected[framing.STDERR].write,
        }
        self._status: int | None = None
        self._failure: Exception | None = None
        # A host that loses power says no goodbye on its connections.
        try:
            self._host_death = os.pidfd_open(kernel_pid)
        except ProcessLookupError:
            connection.close()
            raise HostGone("The host has just stopped: boot it first.") from None
        framing.send_json(connection, framing.REQUEST, {"argv": argv})
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        threading.Thread(target=self._feed, args=(stdin,), daemon=True).start()

    def wait(self, timeout: float | None = None) -> Result:
        """The result, once it has ended; TimeoutError, with it still running, after `timeout` s."""
        self._reader.join(timeout)
        if self._reader.is_alive():
            raise TimeoutError(f"`{' '.join(self.argv)}` still runs after {timeout} s.")
        if self._status is None:
            raise HostGone(f"`{' '.join(self.argv)}` was lost: {self._failure}") from self._failure
        stdout, stderr = (self._collected[kind].getvalue() for kind in self._collected)
        return Result(self.argv, self._status, stdout, stderr)

    def kill(self) -> None:
        """Kill it with its process group, if it still runs; `wait` then raises HostGone."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._reader.join()

    def _feed(self, stdin: BinaryIO) -> None:
        with stdin, contextlib.suppress(OSError):  # it ended without reading all its input
            while data := stdin.read(framing.CHUNK):
                framing.send(self._connection, framing.STDIN, data)
            framing.send(self._connection, framing.STDIN)

    def _read(self) -> None:
        try:
            while self._status is None:
                self._wait_for_frame()
                kind, data = framing.receive(self._connection)
                if kind == framing.EXIT:
                    self._status = json.loads(data)
                else:
                    self._sinks[kind](data)
        except (OSError, EOFError, HostGone) as error:
            self._failure = error
        finally:
            self._connection.close()
            os.close(self._host_death)

    def _wait_for_frame(self) -> None:
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        poll.register(self._host_death, select.POLLIN)
        if self._connection.fileno() not in dict(poll.poll()):
            raise HostGone("the host stopped")


def ask(connection: socket.socket, question: dict[str, Any], timeout: float) -> dict[str, Any]:
    """The agent's answer to a question that is no command; OSError or EOFError if none comes."""
    with connection:
        connection.settimeout(timeout)
        framing.send_json(connection, framing.REQUEST, question)
        _, payload = framing.receive(connection)
        answer: dict[str, Any] = json.loads(payload)
        return answer


def shell_status(status: int) -> int:
    """A result's status as a shell would report it: 128 and the signal's number."""
    return 128 - status if status < 0 else status
