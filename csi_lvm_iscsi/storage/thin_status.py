"""How full a thin pool is, asked of device-mapper itself: no process, and no lock of lvm's."""

import errno
import fcntl
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from csi_lvm_iscsi.model import names

CONTROL = Path("/dev/mapper/control")
# linux/dm-ioctl.h: _IOWR(0xfd, 12, struct dm_ioctl). Its fields up to event_nr and a padding, then
# dev, name and uuid; behind it, at data_start, struct dm_target_spec and the text.
_TABLE_STATUS = 0xC138FD0C
_HEADER = struct.Struct("=3I7IQ128s129s7x")
_TARGET = struct.Struct("=QQiI16s")
_DATA_START = 4  # which of the header's fields
_VERSION = (4, 0, 0)
# DM_NOFLUSH_FLAG: else the pool would commit its metadata each time (drivers/md/dm-thin.c,
# pool_status).
_NOFLUSH = 1 << 11
_BUFFER_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Use:
    """How full a pool is, in percent."""

    data: float
    metadata: float

    @classmethod
    def parse(cls, status: str) -> Self | None:
        """Read `TRANSACTION USED/TOTAL USED/TOTAL ...`, metadata before data
        (Documentation/admin-guide/device-mapper/thin-provisioning.rst); None for `Fail`."""
        fields = status.split()
        if len(fields) < 3 or "/" not in fields[1]:
            return None
        metadata, data = (_percent(field) for field in fields[1:3])
        return cls(data, metadata)


def pool_use(volume_group: str, thin_pool: str, control: Path = CONTROL) -> Use | None:
    """How full a pool is; None where it is not active, as nothing is written to it then.

    Raises OSError where device-mapper cannot be asked. May wait for the pool's disk.
    """
    # The pool of LVM that volumes are in is a device below the one of its own name.
    name = f"{names.device_mapper_name(volume_group, thin_pool)}-tpool"
    buffer = bytearray(_BUFFER_BYTES)
    numbers = (_BUFFER_BYTES, _HEADER.size, 0, 0, _NOFLUSH, 0, 0)
    _HEADER.pack_into(buffer, 0, *_VERSION, *numbers, 0, name.encode(), b"")
    descriptor = os.open(control, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, _TABLE_STATUS, buffer)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        raise
    finally:
        os.close(descriptor)
    start = _HEADER.unpack_from(buffer)[_DATA_START] + _TARGET.size
    return Use.parse(buffer[start : buffer.index(0, start)].decode())


def _percent(field: str) -> float:
    used, _, total = field.partition("/")
    return int(used) * 100 / int(total)
