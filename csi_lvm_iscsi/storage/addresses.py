"""The addresses of this host, asked of the kernel."""

import ipaddress
import socket
import struct
from collections.abc import Iterator

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# rtnetlink(7) and netlink(7): a request to list all addresses, and what the answer consists of. It
# costs microseconds and no process, and needs no iproute2 in the image.
_RTM_NEWADDR = 20
_RTM_GETADDR = 22
_NLM_F_REQUEST_DUMP = 0x001 | 0x300
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length type flags sequence process
_BODY = struct.Struct("=BBBBI")  # struct ifaddrmsg: family prefix flags scope interface
_ATTRIBUTE = struct.Struct("=HH")  # struct rtattr: length type
_IFA_ADDRESS = 1
_IFA_LOCAL = 2  # differs from IFA_ADDRESS on point-to-point links, where that is the peer's
_IFA_FLAGS = 8
# linux/if_addr.h: of privacy extensions, in use elsewhere, on their way out, not ours yet.
_TEMPORARY, _DAD_FAILED, _DEPRECATED, _TENTATIVE = 0x01, 0x08, 0x20, 0x40
_UNUSABLE = _DAD_FAILED | _DEPRECATED | _TENTATIVE
_BUFFER = 1 << 16


def addresses() -> tuple[Address, ...]:
    """The addresses of this network namespace that others may connect to now, in no order."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink:
        request = _BODY.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
        size = _HEADER.size + len(request)
        netlink.send(_HEADER.pack(size, _RTM_GETADDR, _NLM_F_REQUEST_DUMP, 1, 0) + request)
        found: list[Address] = []
        while True:
            for kind, body in _messages(netlink.recv(_BUFFER)):
                if kind != _RTM_NEWADDR:  # NLMSG_DONE, or NLMSG_ERROR
                    return tuple(found)
                if (address := _address(body)) is not None:
                    found.append(address)


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    while data:
        length, kind, *_ = _HEADER.unpack_from(data)
        yield kind, data[_HEADER.size : length]
        data = data[_aligned(length) :]


def _address(body: bytes) -> Address | None:
    """The address of one RTM_NEWADDR; None for one that is not to be used."""
    family, _, flags, _, _ = _BODY.unpack_from(body)
    attributes = dict(_attributes(body[_BODY.size :]))
    if _IFA_FLAGS in attributes:
        (flags,) = struct.unpack("=I", attributes[_IFA_FLAGS])
    # The kernel gives IPv4's secondary addresses the flag that IPv6 uses for temporary ones.
    unusable = _UNUSABLE | (_TEMPORARY if family == socket.AF_INET6 else 0)
    raw = attributes.get(_IFA_LOCAL, attributes.get(_IFA_ADDRESS))
    return None if raw is None or flags & unusable else ipaddress.ip_address(raw)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while data:
        length, kind = _ATTRIBUTE.unpack_from(data)
        yield kind, data[_ATTRIBUTE.size : length]
        data = data[_aligned(length) :]


def _aligned(length: int) -> int:
    return (length + 3) & ~3
