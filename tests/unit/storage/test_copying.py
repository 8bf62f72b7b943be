"""Copies: complete, restartable, and told of while they run. The disks are files here."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from csi_lvm_iscsi.commands.threads import to_the_end
from csi_lvm_iscsi.model.errors import Aborted, DriverError
from csi_lvm_iscsi.storage import copying
from csi_lvm_iscsi.storage.copying import Copies, Progress, copied_steps

STEP = 64 << 20
SIZE = 2 * STEP + 4096


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Data at the beginning, in the middle and at the end; zeros between."""
    path = tmp_path / "source"
    with path.open("wb") as file:
        file.truncate(SIZE)
        for offset in (0, STEP - 512, STEP, SIZE - 4096):
            file.seek(offset)
            file.write(os.urandom(4096))
    return path


def disk(path: Path, filled_with: bytes = b"") -> Path:
    path.write_bytes(filled_with * SIZE)
    os.truncate(path, SIZE)
    return path


@contextlib.asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Path]:
    yield path


@pytest.mark.parametrize("sparse", [True, False])
async def test_all_is_copied(source: Path, tmp_path: Path, *, sparse: bool) -> None:
    destination = disk(tmp_path / "destination")
    await Copies(tmp_path / "copies").ensure(
        "v", SIZE, lambda: opened(source), destination, sparse=sparse
    )
    assert destination.read_bytes() == source.read_bytes()


async def test_zeros_are_left_out_only_where_nothing_else_can_be(
    source: Path, tmp_path: Path
) -> None:
    thin, thick = disk(tmp_path / "thin"), disk(tmp_path / "thick", b"x")
    for destination, sparse in ((thin, True), (thick, False)):
        async for _ in copied_steps(source, destination, 0, SIZE, sparse=sparse):
            pass
    assert thin.stat().st_blocks * 512 < 8 << 20
    assert thick.read_bytes() == source.read_bytes()


async def test_a_copy_goes_on_where_it_was_interrupted(source: Path, tmp_path: Path) -> None:
    destination = disk(tmp_path / "destination")
    steps = copied_steps(source, destination, 0, SIZE, sparse=True)
    first = await anext(steps)
    await steps.aclose()
    copies = Copies(tmp_path / "copies")
    copies._records.write("v", Progress(first, blank=True))

    before = source.read_bytes()
    with source.open("r+b") as file:  # what was copied already is not read again
        file.write(b"changed")
    await copies.ensure("v", SIZE, lambda: opened(source), destination, sparse=True)
    assert destination.read_bytes() == before
    assert copies.is_complete("v", SIZE)


async def test_a_caller_hears_how_far_it_is(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "_PATIENCE_SECONDS", 0.01)
    may_open = asyncio.Event()

    @contextlib.asynccontextmanager
    async def waiting() -> AsyncIterator[Path]:
        await may_open.wait()
        yield source

    copies, destination = Copies(tmp_path / "copies"), disk(tmp_path / "destination")
    with pytest.raises(Aborted, match=r"^0 % of 128 MiB are copied into volume v; call again\.$"):
        await copies.ensure("v", SIZE, waiting, destination, sparse=True)
    await copies.forget("v")
    assert not copies.is_complete("v", SIZE)


async def test_a_source_that_is_too_short_is_told_of(source: Path, tmp_path: Path) -> None:
    os.truncate(source, 4096)
    copies = Copies(tmp_path / "copies")
    with pytest.raises(DriverError, match="The source ends at 4096 bytes"):
        await copies.ensure(
            "v", SIZE, lambda: opened(source), disk(tmp_path / "destination"), sparse=True
        )
    assert not copies.is_complete("v", SIZE)


async def test_zeros_of_the_source_replace_what_an_earlier_copy_left(
    source: Path, tmp_path: Path
) -> None:
    destination = disk(tmp_path / "destination", b"x")  # no record of it is left
    copies = Copies(tmp_path / "copies")
    await copies.ensure("v", SIZE, lambda: opened(source), destination, sparse=True)
    assert destination.read_bytes() == source.read_bytes()


async def test_a_thread_is_waited_for_however_often_it_is_cancelled() -> None:
    may_end = threading.Event()
    task = asyncio.create_task(to_the_end(may_end.wait))
    for _ in range(3):
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.wait({task}, timeout=0.05)
    assert not task.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
