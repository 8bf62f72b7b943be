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
# (usr/mgmt.c, ipc_init), and does one after the other; past that connect(2) fails with EAGAIN,
# which asyncio takes for a connection that is coming.
_AT_ONCE = 8
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
        body = parameters.encode() + b"\0" if parameters else b""
        head = _REQUEST.pack(
            mode, op, b"iscsi", _REQUEST.size + len(body), tid, sid, lun, cid, 0, 0, 0, 0, force
        )
        try:
            async with asyncio.timeout(_SECONDS), self._turns:
                code, text = await self._exchange(head + body)
        except (OSError, EOFError, TimeoutError) as error:
            raise Unavailable(
                f"tgtd does not answer on {self._path} ({error or 'no answer in time'}): see that "
                "it is running on the storage host, then call again."
            ) from error
        if code:
            raise TgtError(f"{op.name} {mode.name}", code)
        return text

    async def open_process(self) -> int:
        """A pidfd of the running tgtd: it becomes readable when that tgtd ends. Raises OSError."""
        reader, writer = await asyncio.open_unix_connection(self._path)
        del reader
        try:
            peer: socket.socket = writer.get_extra_info("socket")
            raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            return os.pidfd_open(_CREDENTIALS.unpack(raw)[0])
        finally:
            writer.close()

    async def _exchange(self, request: bytes) -> tuple[int, str]:
        reader, writer = await asyncio.open_unix_connection(self._path)
        try:
            writer.write(request)
            code, length = _RESPONSE.unpack(await reader.readexactly(_RESPONSE.size))
            text = await reader.readexactly(max(length - _RESPONSE.size, 0))
        finally:
            writer.close()
        return code, text.rstrip(b"\0").decode()
