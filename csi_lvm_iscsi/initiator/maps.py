"""Multipath maps: one disk over the disks of several sessions.

Device-mapper's target `multipath` with a uuid of our own, so that multipathd, whatever its
configuration on a host, leaves them alone, and nothing depends on it. Without multipathd nobody
takes a path back that failed: `path_upkeep` does.
"""

import errno
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from csi_lvm_iscsi.commands.waiting import until_async
from csi_lvm_iscsi.initiator.blocking import bounded
from csi_lvm_iscsi.initiator.device_mapper import DeviceMapper
from csi_lvm_iscsi.initiator.devices import SECTOR, Device
from csi_lvm_iscsi.model import chap
from csi_lvm_iscsi.model.errors import DriverError, FailedPrecondition
from csi_lvm_iscsi.model.sizes import human

T = TypeVar("T")

_UUID = re.compile(r"CSILVM-([0-9a-f]{16})-(.+)")
_PATH_STATE = re.compile(r"(\d+:\d+) ([AF]) \d+")
_NUMBER = re.compile(r"\d+:\d+")
_QUEUE = "queue_if_no_path"
_SECONDS = 10.0
# A new table counts when the requests under way are done: those on a path that is cut are given up
# after the time it takes to notice, and replacement_timeout.
_RESUME_SECONDS = 60.0
_REMOVE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Map(Device):
    """A map. Its uuid tells of which publication it is, as a session's CHAP user does."""

    uuid: str
    volume_id: str
    nonce: str

    @property
    def user(self) -> str:
        """The CHAP user of the sessions of its paths."""
        return chap.user(self.volume_id, self.nonce)


class Maps:
    """The maps of this host. The kernel is asked each time; nothing is remembered."""

    def __init__(self, sys: Path, dev: Path, mapper: DeviceMapper) -> None:
        self._sys = sys
        self._dev = dev
        self._mapper = mapper

    def all(self) -> tuple[Map, ...]:
        """All maps of ours."""
        found = sorted(self._mapper.maps().items())
        matches = ((_UUID.fullmatch(uuid), number) for uuid, number in found)
        return tuple(self._map(match, number) for match, number in matches if match)

    def of(self, volume_id: str) -> tuple[Map, ...]:
        """The maps of a volume: of one publication, or of earlier ones too."""
        return tuple(each for each in self.all() if each.volume_id == volume_id)

    def find(self, volume_id: str, nonce: str) -> Map | None:
        """The map of a publication."""
        return next((each for each in self.of(volume_id) if each.nonce == nonce), None)

    def size(self, map_: Map) -> int:
        """Its size in bytes; 0 for one that is not finished."""
        try:
            return int((self._sys / "block" / map_.name / "size").read_text()) * SECTOR
        except OSError:
            return 0

    async def ensure(
        self, volume_id: str, nonce: str, paths: Sequence[Device], size_bytes: int
    ) -> Map:
        """The map of a publication, over just these paths and of this size.

        Raises FailedPrecondition where something else holds one of the paths, or the map is larger
        already: it may be mounted, and what is behind its new end would be lost to it.
        """
        uuid = f"CSILVM-{nonce}-{volume_id}"
        found = self.find(volume_id, nonce)
        if found is None:
            await _do(lambda: self._mapper.create(uuid))
            found = self.find(volume_id, nonce)
            if found is None:
                raise DriverError(f"The new map {uuid} went again at once: call again.")
        if size_bytes < self.size(found):
            raise FailedPrecondition(
                f"{found.path} has {human(self.size(found))}, one of its paths "
                f"{human(size_bytes)}: it is left as it is. See what "
                "the storage host exports as this target."
            )
        table = await _do(lambda: self._mapper.table(uuid))
        in_use = set(_NUMBER.findall(table))
        if in_use != {path.number for path in paths} or self.size(found) != size_bytes:
            await self._load(uuid, paths, size_bytes // SECTOR)
        return found

    async def _load(self, uuid: str, paths: Sequence[Device], sectors: int) -> None:
        """One group with all paths, as they lead to the same tgtd: the path with the least to do
        is taken (Linux, Documentation/admin-guide/device-mapper/dm-service-time.rst)."""
        each = " ".join(f"{path.number} 1" for path in paths)
        table = f"1 {_QUEUE} 0 1 1 service-time 0 {len(paths)} 1 {each}"
        await _do(lambda: self._mapper.load(uuid, sectors, "multipath", table))
        await _do(lambda: self._mapper.resume(uuid), _RESUME_SECONDS)

    async def paths(self, map_: Map) -> dict[str, bool]:
        """The paths of a map by major:minor, and whether it sends I/O there."""
        status = await _do(lambda: self._mapper.status(map_.uuid))
        return {number: state == "A" for number, state in _PATH_STATE.findall(status)}

    async def is_queueing(self, map_: Map) -> bool:
        """Whether I/O waits while there is no path, instead of failing."""
        return _QUEUE in await _do(lambda: self._mapper.table(map_.uuid))

    async def set_queueing(self, map_: Map, *, on: bool) -> None:
        """Have I/O wait while there is no path, or fail, that which waits included."""
        message = _QUEUE if on else "fail_if_no_path"
        await _do(lambda: self._mapper.message(map_.uuid, message))

    async def reinstate(self, map_: Map, number: str) -> None:
        """Send I/O to a path again."""
        await _do(lambda: self._mapper.message(map_.uuid, f"reinstate_path {number}"))

    async def remove(self, map_: Map) -> None:
        """Remove a map that nobody uses; gone already is fine. Raises TookTooLong where somebody
        does."""

        def attempt() -> bool:
            try:
                self._mapper.remove(map_.uuid, deferred=False)
            except OSError as error:
                if error.errno == errno.EBUSY:  # also for a moment, while udev looks at it
                    return False
                raise
            return True

        await until_async(
            lambda: _do(attempt),
            _REMOVE_SECONDS,
            f"{map_.path} cannot be removed: something has it open. Look at `lsblk {map_.path}` "
            "and at /proc/*/fd, end that use, then call again.",
        )

    async def abandon(self, map_: Map) -> None:
        """Have all I/O of a map fail that no path takes, and the map go when its last user does."""
        await self.set_queueing(map_, on=False)
        await _do(lambda: self._mapper.remove(map_.uuid, deferred=True))

    def _map(self, match: re.Match[str], number: str) -> Map:
        name = f"dm-{number.partition(':')[2]}"  # the kernel's: drivers/md/dm.c, alloc_dev
        return Map(name, self._dev / name, number, match[0], match[2], match[1])


async def _do(call: Callable[[], T], seconds: float = _SECONDS) -> T:
    """Make a call of device-mapper, bounded, its errors in sentences."""
    try:
        return await bounded(
            call, seconds, f"Device-mapper does not answer for {seconds:g} s: see the kernel's log."
        )
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise FailedPrecondition(
                "A path of the volume is in use by something else, so that it cannot be a path of "
                "a multipath map: look at `lsblk` for what is on it (multipathd? then blacklist "
                "the vendor CSILVM in its configuration)."
            ) from error
        if error.errno in (errno.ENOENT, errno.ENODEV):
            raise FailedPrecondition(
                f"{error.filename} is not there: load the kernel module dm-mod on this host."
            ) from error
        raise DriverError(
            f"Device-mapper refused ({error.strerror}): see the kernel's log, and that its module "
            "dm-multipath can be loaded."
        ) from error
