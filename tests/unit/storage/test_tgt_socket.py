"""The management socket, served as tgtd serves it: 32 may wait, and one is answered at a time."""

import asyncio
import socket
import struct
import threading
from pathlib import Path

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
