"""The agent and its client, talking over loopback instead of a lab's network."""

import io
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.lab import agent, framing
from tests.e2e.lab.errors import HostGone
from tests.e2e.lab.remote import Command, ask


def connected_agent(receive_buffer: int | None = None) -> socket.socket:
    client = socket.socket()
    if receive_buffer:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client.connect(listener.getsockname())
        server, _ = listener.accept()
    serving = (server, agent.serve_request)
    threading.Thread(target=agent.serve_and_close, args=serving, daemon=True).start()
    return client


def start(*argv: str, stdin: bytes = b"") -> Command:
    return Command(connected_agent(), os.getpid(), argv, stdin=io.BytesIO(stdin))


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_frames_keep_their_borders() -> None:
    one, other = socket.socketpair()
    with one, other:
        framing.send(one, framing.STDOUT, b"a\n\xff\0")
        framing.send(one, framing.STDIN)
        one.close()
        assert framing.receive(other) == (framing.STDOUT, b"a\n\xff\0")
        assert framing.receive(other) == (framing.STDIN, b"")
        with pytest.raises(EOFError):
            framing.receive(other)


def test_streams_and_status_pass_through() -> None:
    result = start("sh", "-c", "cat; printf 'e\\377' >&2; exit 7", stdin=b"\0in").wait(10)
    assert (result.status, result.stdout, result.stderr) == (7, b"\0in", b"e\xff")


def test_more_than_the_pipes_hold_passes_both_ways() -> None:
    data = os.urandom(5_000_000)
    assert start("cat", stdin=data).wait(10).stdout == data


def test_arguments_need_not_be_text() -> None:
    argument = os.fsdecode(b"\xff 'x'\n")
    assert start("printf", "%s", argument).wait(10).stdout == b"\xff 'x'\n"


def test_unread_input_does_no_harm() -> None:
    assert start("true", stdin=bytes(5_000_000)).wait(10).status == 0


def test_unread_input_costs_no_output() -> None:
    """A connection that is closed with unread input is reset, with all that is on its way."""
    connection = connected_agent(receive_buffer=4096)
    argv = ("head", "-c", "300000", "/dev/zero")
    command = Command(connection, os.getpid(), argv, stdin=io.BytesIO(bytes(5_000_000)))
    assert len(command.wait(30).stdout) == 300000


def test_signal_is_a_negative_status() -> None:
    assert start("sh", "-c", "kill -9 $$").wait(10).status == -9


def test_missing_program_ends_with_127() -> None:
    result = start("/no/such/program").wait(10)
    assert result.status == 127
    assert b"No such file" in result.stderr


def test_a_daemon_left_behind_does_not_hold_up_the_end(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    result = start("sh", "-c", f"sleep 60 & echo $! > {pid_file}; echo done").wait(10)
    os.kill(int(pid_file.read_text()), 9)
    assert result.stdout == b"done\n"


def test_kill_ends_the_whole_process_group(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    command = start("sh", "-c", f"sleep 60 & echo $! > {pid_file}; wait")
    wait_until(lambda: pid_file.exists() and bool(pid_file.read_text()))
    command.kill()
    with pytest.raises(HostGone):
        command.wait()
    wait_until(lambda: not is_alive(int(pid_file.read_text())))


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_wait_leaves_it_running_after_a_timeout() -> None:
    command = start("cat")
    slow = start("sleep", "60")
    with pytest.raises(TimeoutError):
        slow.wait(0.05)
    slow.kill()
    assert command.wait(10).status == 0


def test_service_states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "SERVICES", tmp_path)
    (tmp_path / "alive").write_text(f"{os.getpid()} 3\n")
    endpoints = {"alive": None, "absent": None}
    states = ask(connected_agent(), {"services": endpoints}, 10)
    assert states["alive"] == {"pid": os.getpid(), "restarts": 3, "ready": True}
    assert states["absent"] == {"pid": 0, "restarts": 0, "ready": False}


def test_relay_joins_both_directions(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    client, server = socket.socketpair()
    relay = threading.Thread(target=agent.relay, args=(server, str(path)), daemon=True)
    relay.start()
    accepted, _ = listener.accept()
    with client, server, accepted, listener:
        client.sendall(b"question")
        client.shutdown(socket.SHUT_WR)
        assert accepted.recv(100) == b"question"
        assert accepted.recv(100) == b""
        accepted.sendall(b"answer")
        accepted.close()
        assert client.recv(100) == b"answer"
        assert client.recv(100) == b""
        relay.join(10)
