"""Deleted thick volumes: zeroed in the background before their extents are given to others.

What waits is what LVM says: logical volumes whose names begin with `wipe-`. So a wipe that a power
cut interrupted begins again, and none is forgotten.
"""

import asyncio
import fcntl
import os
import struct
from pathlib import Path

import structlog

from csi_lvm_iscsi.commands.threads import to_the_end
from csi_lvm_iscsi.model.errors import DriverError
from csi_lvm_iscsi.storage.catalog import Catalog
from csi_lvm_iscsi.storage.devices import Devices
from csi_lvm_iscsi.storage.report import LogicalVolume, VolumeGroup

_log = structlog.get_logger()
_BLKZEROOUT = 0x127F  # linux/fs.h: {u64 start; u64 length}; the disk does it where it can
_CHUNK_BYTES = 16 << 20
# Of the time; the rest is for the I/O of volumes that live.
_SHARE = 0.5
_RETRY_SECONDS = 30.0


class Wiper:
    """Wipes what is deleted, one logical volume at a time."""

    def __init__(self, catalog: Catalog, devices: Devices) -> None:
        self._catalog = catalog
        self._devices = devices
        self._work = asyncio.Event()

    def wake(self) -> None:
        """There is something to wipe."""
        self._work.set()

    async def run(self) -> None:
        """Wipe for ever. What fails is logged and tried again later."""
        while True:
            self._work.clear()
            before = len(self._catalog.waste())
            for each in self._ready():
                await self._try(*each)
            if len(self._catalog.waste()) < before:
                continue  # an origin whose last snapshot went is ready now
            try:
                async with asyncio.timeout(_RETRY_SECONDS):
                    await self._work.wait()
            except TimeoutError:
                pass

    def _ready(self) -> list[tuple[VolumeGroup, LogicalVolume]]:
        """What can be wiped: not an origin that snapshots still need."""
        return [
            (group, each)
            for group, each in self._catalog.waste()
            if self._is_alone(group.name, each.name)
        ]

    def _is_alone(self, volume_group: str, name: str) -> bool:
        return not self._catalog.thick_snapshots_of(volume_group, name)

    async def _try(self, group: VolumeGroup, waste: LogicalVolume) -> None:
        try:
            await self._wipe(group.name, waste)
        except (DriverError, OSError) as error:
            _log.error(
                "a deleted volume cannot be wiped: its space stays taken",
                logical_volume=f"{group.name}/{waste.name}",
                error=str(error),
            )

    async def _wipe(self, volume_group: str, waste: LogicalVolume) -> None:
        """Wipe it, unless LVM shows by now that a snapshot needs it: with its origin's zeros the
        snapshot would be worthless, and lvremove would take it along, its store unwiped."""
        lvm = self._catalog.lvm(volume_group)
        await self._catalog.refresh()
        if not self._is_alone(volume_group, waste.name):
            return
        if waste.thick_snapshot:
            # Through the snapshot its origin would be seen; parted, it is the store itself.
            await lvm.split_snapshot(waste.name)
        device = await self._devices.ensure(volume_group, waste.name)
        await zero(Path(device.path), device.size_bytes)
        if not await lvm.remove_unless_origin(waste.name):
            raise DriverError("it is open, or has a snapshot: see `lsof` of its device, and `lvs`")
        self._catalog.drop(volume_group, waste.name)
        _log.info("wiped", logical_volume=f"{volume_group}/{waste.name}")


async def zero(path: Path, size_bytes: int) -> None:
    """Zero a device, and have that on its disk, at half of the speed that it allows. Raises
    OSError, EBUSY where something else has it mounted or mapped."""
    loop = asyncio.get_running_loop()
    descriptor = os.open(path, os.O_RDWR | os.O_EXCL | os.O_CLOEXEC)
    try:
        for start in range(0, size_bytes, _CHUNK_BYTES):
            began = loop.time()
            length = min(_CHUNK_BYTES, size_bytes - start)
            await to_the_end(_zero_out, descriptor, start, length)
            await asyncio.sleep((loop.time() - began) * (1 / _SHARE - 1))
        await to_the_end(os.fsync, descriptor)
    finally:
        os.close(descriptor)


def _zero_out(descriptor: int, start: int, length: int) -> None:
    fcntl.ioctl(descriptor, _BLKZEROOUT, struct.pack("=QQ", start, length))
