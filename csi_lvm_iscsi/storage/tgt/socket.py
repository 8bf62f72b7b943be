"""The wire of tgtd's management socket, /var/run/tgtd/socket.0.

One request is one connection: a C struct of 120 bytes (`struct tgtadm_req`, usr/tgtadm.h of
fujita/tgt, the same in 1.0.85 and 1.0.97; native byte order, x86-64 alignment), then a string that
ends with NUL. The answer is {u32 error; u32 length} and length - 8 bytes of text. It costs a
fiftieth of starting tgtadm, and no password shows in a process list.
"""

import asyncio
import enum
import os
import socket
import struct
from pathlib import Path
from typing import Protocol

from csi_lvm_iscsi.model.errors import DriverError, Unavailable

SOCKET = Path("/var/run/tgtd/socket.0")

_SECONDS = 30.0
# How many requests are on their way at once. tgtd has room for 32 that it has not accepted yet
# (usr/mgmt.c, ipc_init), and does one after the other; past that connect(2) fails with EAGAIN.
_AT_ONCE = 8
_FULL_PAUSE_SECONDS = 0.05
# mode op lld len tid sid lun cid host_no device_type ac_dir pack force
_REQUEST = struct.Struct("=ii64sIiQQIIIIII")
_RESPONSE = struct.Struct("=II")
_CREDENTIALS = struct.Struct("=iII")  # struct ucred: pid uid gid
ALL_TARGETS = -1


class Mode(enum.IntEnum):
    """`enum tgtadm_mode`: what a request is about."""

    SYSTEM = 0
    TARGET = 1
    LOGICAL_UNIT = 2
    PORTAL = 3
    CONNECTION = 6
    ACCOUNT = 7


class Op(enum.IntEnum):
    """`enum tgtadm_op`: what to do with it."""

    NEW = 0
    DELETE = 1
    SHOW = 2
    BIND = 3
    UNBIND = 4
    UPDATE = 5


class Code(enum.IntEnum):
    """`enum tgtadm_errno` (usr/tgtadm_error.h): those that we tell apart."""

    NO_TARGET = 4
    NO_SESSION = 6
    NO_CONNECTION = 7
    ACL_EXIST = 12
    ACL_NOEXIST = 13
    USER_EXIST = 14
    NO_USER = 15


class TgtError(DriverError):
    """tgtd refused a request."""

    def __init__(self, request: str, code: int) -> None:
        name = next((known.name for known in Code if known == code), "see usr/tgtadm_error.h")
        super().__init__(
            f"tgtd refused {request} with error {code} ({name}): see its log on the storage host."
        )
        self.code = code


class Management(Protocol):
    """A way to tgtd. The product has one (`ManagementSocket`); tests play back recorded ones."""

    async def request(
        self,
        mode: Mode,
        op: Op,
        parameters: str = "",
        *,
        tid: int = 0,
        lun: int = 0,
        sid: int = 0,
        cid: int = 0,
        force: bool = False,
    ) -> str:
        """Send one request, return the text of the answer. Raises TgtError where tgtd refuses,
        Unavailable where it does not answer."""


class ManagementSocket:
    """The management socket of the tgtd of this host."""

    def __init__(self, path: Path = SOCKET) -> None:
        self._path = path
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def request(
        self,
        mode: Mode,
        op: Op,
        parameters: str = "",
        *,
        tid: int = 0,
        lun: int = 0,
        sid: int = 0,
        cid: int = 0,
        force: bool = False,
    ) -> str:
        """Send one request; see Management.request."""
        request = _packed(mode, op, parameters, tid=tid, lun=lun, sid=sid, cid=cid, force=force)
        try:
            async with asyncio.timeout(_SECONDS), self._turns:
                code, text = await self._exchange(request)
        except (OSError, EOFError, TimeoutError) as error:
            reason = str(error) or "no answer in time"
            raise Unavailable(
                f"tgtd does not answer on {self._path} ({reason}): see that it is running on the "
                "storage host, then call again."
            ) from error
        if code:
            raise TgtError(f"{op.name} {mode.name}", code)
        return text

    async def open_process(self) -> tuple[int, int]:
        """The running tgtd: its process id, and a pidfd, which becomes readable when it ends.
        Raises OSError."""
        # Any request, as a connection without one is the end of tgtd's rest (`_sent`).
        async with asyncio.timeout(_SECONDS):
            connection = await self._sent(_packed(Mode.SYSTEM, Op.SHOW))
        with connection:
            raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid = int(_CREDENTIALS.unpack(raw)[0])
        return pid, os.pidfd_open(pid)

    async def _exchange(self, request: bytes) -> tuple[int, str]:
        reader, writer = await asyncio.open_unix_connection(sock=await self._sent(request))
        try:
            code, length = _RESPONSE.unpack(await reader.readexactly(_RESPONSE.size))
            text = await reader.readexactly(max(length - _RESPONSE.size, 0))
        finally:
            writer.close()
        return code, text.rstrip(b"\0").decode()

    async def _sent(self, request: bytes) -> socket.socket:
        """A connection with the whole request on it already. Raises OSError.

        Connected and sent in one step, without a moment in which the call may be cancelled: when a
        connection ends before its request is whole, tgtd may read that end again and again for as
        long as it lives, and take a core for it. It asks errno, which read(2) leaves as it was
        (usr/mgmt.c of 1.0.85 and 1.0.97, mtask_recv_send_handler).
        """
        while True:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            try:
                connection.connect(str(self._path))
                connection.sendall(request)
            except BlockingIOError:
                connection.close()
            except OSError:
                connection.close()
                raise
            else:
                return connection
            await asyncio.sleep(_FULL_PAUSE_SECONDS)  # nothing tells when there is room again


def _packed(
    mode: Mode,
    op: Op,
    parameters: str = "",
    *,
    tid: int = 0,
    lun: int = 0,
    sid: int = 0,
    cid: int = 0,
    force: bool = False,
) -> bytes:
    body = parameters.encode() + b"\0" if parameters else b""
    length = _REQUEST.size + len(body)
    return _REQUEST.pack(mode, op, b"iscsi", length, tid, sid, lun, cid, 0, 0, 0, 0, force) + body
