"""The management socket, served as tgtd serves it: 32 may wait, and one is answered at a time."""

import asyncio
import contextlib
import os
import socket
import struct
import threading
from pathlib import Path

import pytest

from csi_lvm_iscsi.model.errors import Unavailable
from csi_lvm_iscsi.storage.tgt import socket as tgt_socket
from csi_lvm_iscsi.storage.tgt.socket import ManagementSocket, Mode, Op

BACKLOG = 32  # usr/mgmt.c, ipc_init
REQUEST_BYTES = 120


def serve(listener: socket.socket, requests: int) -> None:
    for _ in range(requests):
        connection, _ = listener.accept()
        with connection:
            connection.recv(REQUEST_BYTES)
            connection.sendall(struct.pack("=II", 0, 8 + 3) + b"ok\0")


async def test_more_requests_than_tgtd_lets_wait(tmp_path: Path) -> None:
    requests = 300
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen(BACKLOG)
        listener.settimeout(10)
        tgtd = threading.Thread(target=serve, args=(listener, requests))
        management = ManagementSocket(tmp_path / "socket")
        asked = (management.request(Mode.TARGET, Op.SHOW) for _ in range(requests))
        asking = asyncio.gather(*asked)
        await asyncio.sleep(0)  # all have begun, while tgtd was busy
        tgtd.start()
        assert await asking == ["ok"] * requests
        tgtd.join()


async def test_no_connection_ends_before_its_request_is_whole(tmp_path: Path) -> None:
    """However early the call is cancelled: tgtd would read the end of it for ever."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen(BACKLOG)
        listener.settimeout(0)
        management = ManagementSocket(tmp_path / "socket")
        for steps in range(8):
            asking = asyncio.create_task(management.request(Mode.TARGET, Op.SHOW))
            for _ in range(steps):
                await asyncio.sleep(0)
            asking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asking
        _, descriptor = await management.open_process()
        os.close(descriptor)
        received = []
        with contextlib.suppress(BlockingIOError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    connection.settimeout(10)
                    received.append(len(connection.recv(2 * REQUEST_BYTES)))
    assert len(received) > 1
    assert set(received) == {REQUEST_BYTES}


async def test_a_tgtd_that_hangs_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tgt_socket, "_SECONDS", 0.05)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen(BACKLOG)
        with pytest.raises(Unavailable, match="no answer in time"):
            await ManagementSocket(tmp_path / "socket").request(Mode.TARGET, Op.SHOW)
