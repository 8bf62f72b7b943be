"""Device-mapper, by its ioctls (linux/dm-ioctl.h).

Not by dmsetup: the state of a map is asked for every few seconds, which starts no process so; and
dmsetup has no option for the flags that keep udev's rules from looking into a disk.
"""

import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import Protocol

# struct dm_ioctl: version[3] data_size data_start target_count open_count flags event_nr padding
# dev name uuid.
_HEADER = struct.Struct("=3I 3I i 3I Q 128s 129s 7x")
_VERSION = (4, 0, 0)
_TARGET = struct.Struct("=QQiI16s")  # struct dm_target_spec: start length status next type
_MESSAGE = struct.Struct("=Q")  # struct dm_target_msg: sector; a string follows
_NAME = struct.Struct("=QI")  # struct dm_name_list: device next; a string follows
_BUFFER = 1 << 14  # at first: enough for a hundred maps, or one with many paths
_ALIGNMENT = 8

_STATUS_TABLE = 1 << 4
_SKIP_LOCKFS = 1 << 10  # of the file system above: it is not to notice
_NOFLUSH = 1 << 11  # requests that wait for a path are kept, not waited for
_DEFERRED_REMOVE = 1 << 17
_BUFFER_FULL = 1 << 8

# No control node, or one whose kernel module is not there: then there are no maps either.
_ABSENT = (errno.ENOENT, errno.ENODEV)

# libdevmapper.h, DM_UDEV_*_FLAG, in the upper half of what udev's rules get as DM_COOKIE:
# DISABLE_SUBSYSTEM_RULES, DISABLE_DISK_RULES (no blkid, and so no LVM, md or btrfs activation, no
# by-uuid links) and PRIMARY_SOURCE, which tells that the flags are meant.
_UDEV_FLAGS = (0x02 | 0x04 | 0x40) << 16


class _Command(IntEnum):
    LIST = 2
    CREATE = 3
    REMOVE = 4
    SUSPEND = 6  # without DM_SUSPEND_FLAG: resume, with the table that was loaded
    LOAD = 9
    STATUS = 12
    MESSAGE = 14


class DeviceMapper(Protocol):
    """A way to device-mapper. The product has one (`Control`).

    Maps are named by their uuid, which is their name too. Verbs raise OSError; but for a map that
    is gone only `load` and `resume` do, as the others find nothing to do then.
    """

    def maps(self) -> dict[str, str]:
        """The major:minor of all maps by name. sysfs has no map before it has a table."""

    def create(self, uuid: str) -> None:
        """Make a map without a table."""

    def load(self, uuid: str, sectors: int, target: str, table: str) -> None:
        """Give a map a table of one target, which counts from the next `resume` on."""

    def resume(self, uuid: str) -> None:
        """Let the table that was loaded count. It waits for the requests that are on their way,
        and begins with those that wait for a path anew."""

    def message(self, uuid: str, text: str) -> None:
        """Tell the target of a map something."""

    def status(self, uuid: str) -> str:
        """What the target of a map tells of its state; empty where there is no table."""

    def table(self, uuid: str) -> str:
        """The table in use; empty where there is none."""

    def remove(self, uuid: str, *, deferred: bool) -> None:
        """Remove a map. With `deferred`, one that is in use goes when its last user does."""


class Control:
    """The control node of device-mapper."""

    def __init__(self, path: Path = Path("/dev/mapper/control")) -> None:
        self._path = path

    def maps(self) -> dict[str, str]:
        """All maps; see DeviceMapper.maps."""
        try:
            return dict(_names(self._call(_Command.LIST)))
        except OSError as error:
            if error.errno in _ABSENT:
                return {}
            raise

    def create(self, uuid: str) -> None:
        """Make a map; see DeviceMapper.create."""
        self._call(_Command.CREATE, uuid, name=uuid)

    def load(self, uuid: str, sectors: int, target: str, table: str) -> None:
        """Give a map a table; see DeviceMapper.load."""
        text = table.encode() + b"\0"
        text += bytes(-len(text) % _ALIGNMENT)
        size = _TARGET.size + len(text)
        spec = _TARGET.pack(0, sectors, 0, size, target.encode())
        self._call(_Command.LOAD, uuid, data=spec + text, targets=1)

    def resume(self, uuid: str) -> None:
        """Let a loaded table count; see DeviceMapper.resume."""
        self._call(_Command.SUSPEND, uuid, flags=_NOFLUSH | _SKIP_LOCKFS)

    def message(self, uuid: str, text: str) -> None:
        """Tell the target something; see DeviceMapper.message."""
        self._call(_Command.MESSAGE, uuid, data=_MESSAGE.pack(0) + text.encode() + b"\0")

    def status(self, uuid: str) -> str:
        """The state of the target; see DeviceMapper.status."""
        return _text(self._call(_Command.STATUS, uuid))

    def table(self, uuid: str) -> str:
        """The table in use; see DeviceMapper.table."""
        return _text(self._call(_Command.STATUS, uuid, flags=_STATUS_TABLE))

    def remove(self, uuid: str, *, deferred: bool) -> None:
        """Remove a map; see DeviceMapper.remove."""
        self._call(_Command.REMOVE, uuid, flags=_DEFERRED_REMOVE if deferred else 0)

    def _call(
        self,
        command: _Command,
        uuid: str = "",
        *,
        name: str = "",
        flags: int = 0,
        data: bytes = b"",
        targets: int = 0,
        size: int = _BUFFER,
    ) -> bytes:
        """One ioctl; what follows the header in its answer, empty where nothing does."""
        buffer = bytearray(size)
        event = _UDEV_FLAGS if command in (_Command.SUSPEND, _Command.REMOVE) else 0
        _HEADER.pack_into(
            buffer, 0, *_VERSION, size, _HEADER.size, targets, 0, flags, event, 0, 0,
            name.encode(), uuid.encode(),
        )  # fmt: skip
        buffer[_HEADER.size : _HEADER.size + len(data)] = data
        control = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        try:
            # _IOWR(0xfd, command, struct dm_ioctl)
            fcntl.ioctl(control, 3 << 30 | _HEADER.size << 16 | 0xFD << 8 | command, buffer)
        except OSError as error:
            if error.errno == errno.ENXIO and command not in (_Command.LOAD, _Command.SUSPEND):
                return b""
            raise
        finally:
            os.close(control)
        end, start, count, _, answered = _HEADER.unpack_from(buffer)[3:8]
        if answered & _BUFFER_FULL:
            return self._call(command, uuid, flags=flags, size=4 * size)
        return bytes(buffer[start:end]) if count or command is _Command.LIST else b""


def _text(answer: bytes) -> str:
    """What a target tells (struct dm_target_spec, then a string)."""
    return answer[_TARGET.size :].partition(b"\0")[0].decode()


def _names(answer: bytes) -> Iterator[tuple[str, str]]:
    """The names in a list of devices (struct dm_name_list)."""
    while len(answer) > _NAME.size:
        device, following = _NAME.unpack_from(answer)
        if not device:  # none at all
            return
        name = answer[_NAME.size :].partition(b"\0")[0].decode()
        yield name, f"{os.major(device)}:{os.minor(device)}"
        if not following:
            return
        answer = answer[following:]
