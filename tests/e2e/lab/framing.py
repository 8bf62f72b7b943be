"""The agent's wire format: frames of one kind byte, a 4-byte length and the payload.

A connection carries one request. For a command: REQUEST and then STDIN frames (an empty one means
end of file) from the client; STDOUT and STDERR frames and at last one EXIT from the agent. For a
question: REQUEST, and one ANSWER. A client that closes the connection gives the command up.
"""

from __future__ import annotations

import json
import socket
import struct

HEADER = struct.Struct("!cI")
CHUNK = 64 * 1024

REQUEST = b"R"
STDIN = b"i"
STDOUT = b"o"
STDERR = b"e"
EXIT = b"x"
ANSWER = b"a"


def send(connection: socket.socket, kind: bytes, payload: bytes = b"") -> None:
    """Send one frame."""
    connection.sendall(HEADER.pack(kind, len(payload)) + payload)


def send_json(connection: socket.socket, kind: bytes, value: object) -> None:
    """Send one frame of JSON. Arguments that are not UTF-8 pass as surrogate escapes."""
    send(connection, kind, json.dumps(value).encode())


def receive(connection: socket.socket) -> tuple[bytes, bytes]:
    """The next frame's kind and payload; EOFError if the other side has closed."""
    kind, length = HEADER.unpack(_receive_exactly(connection, HEADER.size))
    return kind, _receive_exactly(connection, length)


def _receive_exactly(connection: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        piece = connection.recv(length - len(data))
        if not piece:
            raise EOFError("the connection was closed")
        data += piece
    return bytes(data)
