"""Runs in a compute host: sends WRITE(10) to a disk past the kernel, which would refuse by itself
to write to a read-only one. Prints SCSI status and sense key of the answer."""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
import sys

SG_IO = 0x2285
TO_DEVICE = -2
BLOCK = 512
# struct sg_io_hdr of scsi/sg.h, x86-64.
HEADER = struct.Struct("@iiBBHIPPPIIiPBBBBHHiII")
STATUS = 13
WRITE_10 = bytes((0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0))


def main() -> None:
    data = ctypes.create_string_buffer(b"x" * BLOCK, BLOCK)
    command = ctypes.create_string_buffer(WRITE_10, len(WRITE_10))
    sense = ctypes.create_string_buffer(32)
    addresses = (ctypes.addressof(each) for each in (data, command, sense))
    header = bytearray(
        HEADER.pack(
            ord("S"), TO_DEVICE, len(WRITE_10), len(sense), 0, BLOCK, *addresses,
            10_000, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        )
    )  # fmt: skip
    disk = os.open(sys.argv[1], os.O_RDONLY)
    fcntl.ioctl(disk, SG_IO, header)
    print(HEADER.unpack(header)[STATUS], sense.raw[2] & 0x0F)


main()
