"""tgtd's connections: what is set on them from outside, as tgtd has no options for it.

One thread of tgtd serves all volumes, and before 1.0.89 it does nothing else while an answer does
not fit into a connection's send buffer: it writes again and again (usr/iscsi/iscsid.c, do_send;
fujita/tgt 4fcb60f). Where the node has vanished in that moment, no volume of the storage host
answers until TCP gives the connection up, after a quarter of an hour.
"""

import contextlib
import ctypes
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

SILENCE_SECONDS = 4
"""A connection ends when its node has acknowledged nothing that was sent, or taken nothing, for so
long. Other nodes' sessions outlast that: they count to 10 s, of which 5 may be over (open-iscsi's
noop_out_interval and noop_out_timeout)."""

SEND_BUFFER_BYTES = 1 << 20
"""tgtd is called to write when a third is free (net/core/stream.c, sk_stream_write_space), of twice
this (socket(7), SO_SNDBUF): more than open-iscsi lets it send at once, 256 KiB by default
(node.conn[0].iscsi.MaxRecvDataSegmentLength). By itself it grows to 4 MiB (tcp(7), tcp_wmem)."""

_SO_SNDBUFFORCE = 32  # include/uapi/asm-generic/socket.h: beyond net.core.wmem_max
_PIDFD_GETFD = 438  # the same on every architecture: include/uapi/asm-generic/unistd.h


def set_up(pid: int, pidfd: int) -> None:
    """Give the process's TCP connections these limits. Those that are accepted later inherit them
    of their listener.

    tcp(7), TCP_USER_TIMEOUT; socket(7), SO_SNDBUFFORCE; pidfd_getfd(2), which is of Linux 5.6 and
    needs CAP_SYS_PTRACE. Raises OSError.
    """
    with _whatever_ends_meanwhile():
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with _whatever_ends_meanwhile():
                if str(entry.readlink()).startswith("socket:"):
                    _set_up(_duplicate(pidfd, int(entry.name)))


@contextlib.contextmanager
def _whatever_ends_meanwhile() -> Iterator[None]:
    """What the process closes while we look needs no limits, nor does a process that ends."""
    try:
        yield
    except OSError as error:
        # ENOTSOCK: its number went to another file at once.
        if error.errno not in (errno.ENOENT, errno.EBADF, errno.ESRCH, errno.ENOTSOCK):
            raise


def _set_up(descriptor: int) -> None:
    try:
        connection = socket.socket(fileno=descriptor)
    except OSError:
        os.close(descriptor)  # it may be a logical volume, which must not stay open
        raise
    with connection:
        internet = connection.family in (socket.AF_INET, socket.AF_INET6)
        if internet and connection.type == socket.SOCK_STREAM:
            milliseconds = SILENCE_SECONDS * 1000
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
            connection.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, SEND_BUFFER_BYTES)


def _duplicate(pidfd: int, descriptor: int) -> int:
    """A descriptor of ours for a file that another process has open."""
    duplicate: int = _libc.syscall(_PIDFD_GETFD, pidfd, descriptor, 0)
    if duplicate < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return duplicate


_libc = ctypes.CDLL(None, use_errno=True)
