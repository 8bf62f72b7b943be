"""Volumes made of a source: what is left when one cannot be made, and what another host lent."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.model.errors import Aborted, OutOfSpace, Unavailable
from csi_lvm_iscsi.model.publications import Publication
from csi_lvm_iscsi.storage import copying
from csi_lvm_iscsi.storage.catalog import Catalog
from csi_lvm_iscsi.storage.copying import Copies
from csi_lvm_iscsi.storage.devices import Device
from csi_lvm_iscsi.storage.pools import Limits, Place, Pools
from csi_lvm_iscsi.storage.report import LogicalVolume
from csi_lvm_iscsi.storage.snapshots import Snapshots
from csi_lvm_iscsi.storage.sources import Sources
from csi_lvm_iscsi.storage.stored import UNFINISHED, volume_tags
from csi_lvm_iscsi.storage.volumes import Volumes, Wanted
from tests.unit.storage.groups import MIB, UUID, FakeLvm, group

SIZE = 8 * MIB
PLACE = Place("vg0", "pool")
OTHER = names.volume_id("of-another-host", "data")
SNAPSHOT = names.snapshot_id("of-another-host", "s")
VOLUME = names.volume_id(UUID, "made")
LENT = Publication(SNAPSHOT, "storage-1", "iqn", ("p",), 1, "serial", SIZE, "nonce", "k1")


class Lvm(FakeLvm):
    """lvm that makes thin volumes and removes them."""

    async def create_thin(self, pool: str, name: str, size_bytes: int, tags: Iterable[str]) -> bool:
        return True

    async def remove(self, name: str) -> bool:
        return True

    async def remove_tag(self, name: str, tag: str) -> None:
        return


class Remote:
    """Another host's disk, in place of iSCSI: a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.released: list[str] = []

    @contextlib.asynccontextmanager
    async def opened(self, publication: Publication) -> AsyncIterator[Path]:
        yield self.path

    async def release(self, disk: str) -> None:
        self.released.append(disk)


class Files:
    """The devices of logical volumes: files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    async def ensure(self, volume_group: str, logical_volume: str) -> Device:
        path = self.directory / logical_volume
        path.touch()
        os.truncate(path, SIZE)
        return Device(str(path), SIZE)


class World:
    """The parts of a storage host that make volumes of sources."""

    def __init__(self, directory: Path, *logical_volumes: LogicalVolume) -> None:
        self.source = directory / "source"
        self.source.write_bytes(b"x" * SIZE)
        self.catalog = Catalog("storage-1", [Lvm(group(*logical_volumes))])  # type: ignore[list-item]
        pools = Pools(self.catalog, [PLACE], Limits())
        self.remote = Remote(self.source)
        self.copies = Copies(directory / "copies")
        volumes = Volumes(self.catalog, pools, lambda: None)
        self.sources = Sources(
            catalog=self.catalog,
            volumes=volumes,
            snapshots=Snapshots(self.catalog, pools, lambda: 0, lambda: None),
            copies=self.copies,
            devices=Files(directory),  # type: ignore[arg-type]
            remote=self.remote,
        )

    async def create(self) -> None:
        await self.catalog.refresh()
        wanted = Wanted("made", SIZE, 0, PLACE, {}, SNAPSHOT)
        await self.sources.create(wanted, LENT)


def unfinished(source_id: str) -> LogicalVolume:
    tags = (*volume_tags("made", {}, source_id), UNFINISHED)
    return LogicalVolume(VOLUME, SIZE, tags, "pool")


async def test_a_copy_from_another_host_is_finished_and_let_go(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.create()
    assert (tmp_path / VOLUME).read_bytes() == b"x" * SIZE
    assert not world.catalog.volume(VOLUME).unfinished
    assert world.remote.released == [SNAPSHOT], "of a killed role's session, too"
    assert not list((tmp_path / "copies").iterdir())


@pytest.mark.parametrize(
    ("number", "error", "left"),
    [(errno.ENOSPC, OutOfSpace, False), (errno.EIO, Unavailable, True)],
)
async def test_a_pool_that_fills_up_leaves_nothing_as_another_place_is_tried(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    error: type[Exception],
    left: bool,  # noqa: FBT001
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(copying, "_write_all", fail)
    world = World(tmp_path)
    with pytest.raises(error):
        await world.create()
    assert world.catalog.has_volume(VOLUME) is left


@pytest.mark.parametrize(
    ("source_id", "lent"),
    [(SNAPSHOT, SNAPSHOT), (OTHER, names.copy_snapshot_id(OTHER, VOLUME))],
)
async def test_what_a_killed_role_was_logged_in_to_is_let_go(
    tmp_path: Path, source_id: str, lent: str
) -> None:
    world = World(tmp_path, unfinished(source_id))
    await world.catalog.refresh()
    assert world.sources.is_borrowing(VOLUME)
    await world.sources.abandon(VOLUME)
    assert world.remote.released == [lent]


async def test_nothing_is_borrowed_of_our_own_volumes_nor_for_finished_ones(
    tmp_path: Path,
) -> None:
    ours = unfinished(names.volume_id(UUID, "data"))
    finished = replace(unfinished(OTHER), tags=tuple(volume_tags("made", {}, OTHER)))
    for logical_volume in (ours, finished):
        world = World(tmp_path, logical_volume)
        await world.catalog.refresh()
        assert not world.sources.is_borrowing(VOLUME)
        await world.sources.abandon(VOLUME)
        assert world.remote.released == []
    assert not world.sources.is_borrowing("unknown")


async def test_a_copy_that_does_not_stop_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read of a disk whose host is away ends when the kernel gives it up."""
    monkeypatch.setattr(copying, "_PATIENCE_SECONDS", 0.01)
    monkeypatch.setattr(copying, "_STOP_SECONDS", 0.01)
    over = asyncio.Event()

    @contextlib.asynccontextmanager
    async def stuck() -> AsyncIterator[Path]:
        while not over.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await over.wait()
        yield tmp_path / "none"

    copies = Copies(tmp_path / "copies")
    with pytest.raises(Aborted):
        await copies.ensure("v", SIZE, stuck, tmp_path / "none", sparse=True)
    with pytest.raises(Unavailable, match="waits for a disk"):
        await copies.forget("v")
    assert "v" in copies._jobs
    over.set()
    monkeypatch.setattr(copying, "_STOP_SECONDS", 5)
    await copies.forget("v")
    assert copies._jobs == {}
