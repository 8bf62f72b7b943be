"""QEMU's machine protocol (QMP): JSON lines in both directions."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any, BinaryIO

from tests.e2e.guest.errors import GuestError

TIMEOUT = 30.0
"""Seconds to wait for an answer or an event: QEMU opens and closes disks meanwhile."""


class Qmp:
    """One QEMU's answers and events. `received` may be called from a thread of its own."""

    def __init__(self, commands: BinaryIO) -> None:
        """`commands` is what QEMU reads; what QEMU writes is to be given to `received`."""
        self._commands = commands
        self._asked = 0
        self._unfinished = b""
        self._answers: dict[int, dict[str, Any]] = {}
        self._events: list[dict[str, Any]] = []
        self._news = threading.Condition()

    def received(self, data: bytes) -> None:
        """Take what QEMU wrote, in pieces of any size."""
        *lines, self._unfinished = (self._unfinished + data).split(b"\n")
        with self._news:
            for message in map(json.loads, lines):
                if "event" in message:
                    self._events.append(message)
                elif "id" in message:  # not QEMU's greeting
                    self._answers[message["id"]] = message
            self._news.notify_all()

    def execute(
        self, command: str, arguments: dict[str, Any] | None = None, timeout: float = TIMEOUT
    ) -> Any:  # noqa: ANN401 - QEMU answers each command with a type of its own
        """What QEMU returns. GuestError if it refuses, or has not answered after `timeout` s."""
        # An answer that comes too late must not be taken for that of the next command.
        self._asked += 1
        number = self._asked
        request = {"execute": command, "arguments": arguments or {}, "id": number}
        self._commands.write(json.dumps(request).encode() + b"\n")
        self._commands.flush()
        with self._news:
            if not self._news.wait_for(lambda: number in self._answers, timeout):
                raise GuestError(f"QEMU has not answered {command} after {timeout:g} s.")
            answer = self._answers.pop(number)
        if "error" in answer:
            raise GuestError(f"QEMU refuses {json.dumps(request)}: {answer['error']['desc']}")
        return answer["return"]

    def wait_for_event(
        self, name: str, matches: Callable[[dict[str, Any]], bool], timeout: float = TIMEOUT
    ) -> None:
        """Wait for an event whose data match, unless it has come already. GuestError if it does
        not come in `timeout` seconds."""

        def take() -> bool:
            for event in self._events:
                if event["event"] == name and matches(event["data"]):
                    self._events.remove(event)
                    return True
            return False

        with self._news:
            if not self._news.wait_for(take, timeout):
                raise GuestError(f"QEMU has not reported {name} after {timeout:g} s.")
