"""A volume group of this host as lvm would report it, and a catalog of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.storage.catalog import Catalog
from csi_lvm_iscsi.storage.report import LogicalVolume, ThinPool, VolumeGroup
from csi_lvm_iscsi.storage.stored import volume_tags

UUID = "XAcVys-jmzE-nxh3-m62v-KFVw-kR9X-7kJzx3"
GIB = 1 << 30
MIB = 1 << 20
EXTENT = 4 * MIB


def volume(called: str, /, size: int = GIB, **fields: object) -> LogicalVolume:
    """A volume of ours; thick, if nothing else is said."""
    made = LogicalVolume(names.volume_id(UUID, called), size, tuple(volume_tags(called, {})))
    return replace(made, **fields)  # type: ignore[arg-type]


def snapshot(called: str, of: LogicalVolume) -> LogicalVolume:
    """A thin snapshot of ours."""
    fields = {"snapshot": called, "of": of.name, "size": str(of.size_bytes), "taken": "0"}
    tags = tuple(f"csi-lvm-iscsi:{key}={text}" for key, text in fields.items())
    return LogicalVolume(called, of.size_bytes, tags, of.thin_pool, of.name)


def thin_pool(
    *, size: int = 10 * GIB, data: float = 0, metadata: float = 0, metadata_bytes: int = 40 * MIB
) -> ThinPool:
    """The pool `pool`, so full in percent."""
    return ThinPool("pool", size, metadata_bytes, data, metadata, zeroes=True, fails_when_full=True)


def group(
    *logical_volumes: LogicalVolume, free: int = 10 * GIB, pool: ThinPool | None = None
) -> VolumeGroup:
    """The volume group `vg0`."""
    return VolumeGroup(
        "vg0",
        UUID,
        EXTENT,
        20 * GIB,
        free,
        (),
        {"pool": pool or thin_pool()},
        {each.name: each for each in logical_volumes},
    )


class FakeLvm:
    """lvm on the volume group, answering with these reports; the last one stays."""

    volume_group = "vg0"

    def __init__(self, *reports: VolumeGroup) -> None:
        self._reports: Iterator[VolumeGroup] = iter(reports[:-1])
        self._last = reports[-1]
        self.extended: list[tuple[str, int]] = []
        self.error: Exception | None = None

    async def report(self) -> VolumeGroup:
        return next(self._reports, self._last)

    async def extend_pool(self, pool: str, by_bytes: int) -> None:
        self._extended("data", by_bytes)

    async def extend_pool_metadata(self, pool: str, by_bytes: int) -> None:
        self._extended("metadata", by_bytes)

    def _extended(self, what: str, by_bytes: int) -> None:
        if self.error:
            raise self.error
        self.extended.append((what, by_bytes))


async def catalog(*reports: VolumeGroup, lvm: FakeLvm | None = None) -> Catalog:
    """A catalog that has read the first report."""
    made = Catalog("storage-1", [lvm or FakeLvm(*reports)])  # type: ignore[list-item]
    await made.refresh()
    return made
