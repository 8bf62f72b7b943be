"""What is set on the sockets of another process."""

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from csi_lvm_iscsi.storage.tgt import connections
from csi_lvm_iscsi.storage.tgt.connections import SEND_BUFFER_BYTES, SILENCE_SECONDS, set_up

# Listens as tgtd does, and tells of its listener, of a connection that was there before, and of one
# that came later, what they have. With descriptors of other kinds, which are passed over.
SERVER = """
import socket
listener = socket.create_server(("127.0.0.1", 0))
others = [socket.socketpair(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM), open("/dev/null")]
def accepted():
    return socket.create_connection(listener.getsockname()), listener.accept()[0]
early = accepted()
print("ready", flush=True)
input()
late = accepted()
for each in (listener, early[1], late[1]):
    print(each.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))
    print(each.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF), flush=True)
"""


@pytest.fixture
def server() -> Iterator[subprocess.Popen[str]]:
    argv = [sys.executable, "-c", SERVER]
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


@pytest.mark.skipif(os.geteuid() != 0, reason="larger buffers than net.core.wmem_max are root's")
def test_a_process_gets_the_limit_for_its_connections_and_later_ones(
    server: subprocess.Popen[str],
) -> None:
    pidfd = os.pidfd_open(server.pid)
    set_up(server.pid, pidfd)
    os.close(pidfd)
    told, _ = server.communicate("go on\n", timeout=10)
    limits = SILENCE_SECONDS * 1000, 2 * SEND_BUFFER_BYTES
    assert [int(each) for each in told.split()] == [*limits] * 3


def test_a_process_that_has_ended_is_no_error(server: subprocess.Popen[str]) -> None:
    pidfd = os.pidfd_open(server.pid)
    server.kill()
    server.wait()
    proc = Path("/proc") / str(server.pid)
    assert not proc.exists()
    set_up(server.pid, pidfd)
    os.close(pidfd)


def test_what_is_closed_meanwhile_is_passed_over_and_other_errors_are_not(
    server: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(number: int) -> None:
        def duplicate(*_: int) -> int:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(connections, "_duplicate", duplicate)

    fail(errno.EBADF)
    set_up(server.pid, 0)
    fail(errno.EPERM)
    with pytest.raises(PermissionError):
        set_up(server.pid, 0)


def test_what_is_no_socket_any_more_is_passed_over_and_closed(
    server: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process closed it, and opened a file by the same number."""
    opened: list[int] = []

    def duplicate(*_: int) -> int:
        opened.append(os.open("/dev/null", os.O_RDONLY))
        return opened[-1]

    monkeypatch.setattr(connections, "_duplicate", duplicate)
    set_up(server.pid, 0)
    assert opened
    for descriptor in opened:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)
