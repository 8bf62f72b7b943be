import io
import json
import re
import threading

import pytest

from tests.e2e.guest.errors import GuestError
from tests.e2e.guest.qmp import Qmp

# As QEMU 7.2 writes them.
GREETING = b'{"QMP": {"version": {"qemu": {"micro": 22}}, "capabilities": ["oob"]}}\r\n'
DELETED = (
    b'{"timestamp": {"seconds": 1795454659, "microseconds": 873652}, "event": "DEVICE_DELETED", '
    b'"data": {"device": "disk-1", "path": "/machine/peripheral/disk-1"}}\r\n'
)
REFUSAL = (
    b'{"id": 1, "error": {"class": "GenericError", "desc": "Could not open \'/nowhere\': '
    b'No such file or directory"}}\r\n'
)


def test_a_command_and_its_answer() -> None:
    commands = io.BytesIO()
    qmp = Qmp(commands)
    for byte in GREETING + DELETED + b'{"id": 1, "return": {"size": 5}}\r\n':
        qmp.received(bytes([byte]))
    assert qmp.execute("query", {"node-name": "disk-1"}, timeout=0) == {"size": 5}
    asked = {"execute": "query", "arguments": {"node-name": "disk-1"}, "id": 1}
    assert json.loads(commands.getvalue()) == asked


def test_an_answer_that_comes_too_late_is_not_the_next_ones() -> None:
    qmp = Qmp(io.BytesIO())
    with pytest.raises(GuestError, match="QEMU has not answered first after 0 s"):
        qmp.execute("first", timeout=0)
    qmp.received(b'{"id": 1, "return": "late"}\r\n{"id": 2, "return": "right"}\r\n')
    assert qmp.execute("second", timeout=0) == "right"


def test_a_refusal_says_what_was_asked_and_why() -> None:
    qmp = Qmp(io.BytesIO())
    qmp.received(REFUSAL)
    with pytest.raises(GuestError, match=re.escape("Could not open '/nowhere'")) as refused:
        qmp.execute("blockdev-add", {"filename": "/nowhere"}, timeout=0)
    assert '"blockdev-add"' in str(refused.value)


def test_an_event_counts_once_and_whenever_it_came() -> None:
    qmp = Qmp(io.BytesIO())
    later = threading.Timer(0.01, qmp.received, [DELETED])
    later.start()
    qmp.wait_for_event("DEVICE_DELETED", lambda data: data["device"] == "disk-1", timeout=10)
    later.join()
    qmp.received(DELETED)
    qmp.wait_for_event("DEVICE_DELETED", lambda data: data["device"] == "disk-1", timeout=0)
    with pytest.raises(GuestError, match="QEMU has not reported DEVICE_DELETED after 0 s"):
        qmp.wait_for_event("DEVICE_DELETED", lambda data: data["device"] == "disk-1", timeout=0)


def test_an_event_of_another_disk_is_left_for_who_waits_for_it() -> None:
    qmp = Qmp(io.BytesIO())
    qmp.received(DELETED)
    with pytest.raises(GuestError):
        qmp.wait_for_event("DEVICE_DELETED", lambda data: data["device"] == "disk-2", timeout=0)
    qmp.wait_for_event("DEVICE_DELETED", lambda data: data["device"] == "disk-1", timeout=0)
