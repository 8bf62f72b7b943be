"""Copying the data of a source into a new volume: in the background, with progress, restartable."""

import asyncio
import contextlib
import errno
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import structlog

from csi_lvm_iscsi.commands.threads import to_the_end
from csi_lvm_iscsi.model import sizes
from csi_lvm_iscsi.model.errors import Aborted, DriverError, OutOfSpace, Unavailable
from csi_lvm_iscsi.records.directory import RecordDirectory

_log = structlog.get_logger()
_CHUNK_BYTES = 1 << 20
# After so much the copy is put on the disk, and how far it is, in its record.
_STEP_BYTES = 64 << 20
# How long a call waits for the copy. The sidecars call again (their --timeout is as long).
_PATIENCE_SECONDS = 50.0
# How long a copy that is to stop may take for the chunk that it is at.
_STOP_SECONDS = 30.0


@dataclass(slots=True)
class _Job:
    task: asyncio.Task[None]
    copied_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a copy is: what its record holds."""

    copied_bytes: int
    blank: bool
    """Whether the destination read as zeros when the copy began."""


Opened = AbstractAsyncContextManager[Path]


class Copies:
    """The copies that run on this host, by the id of the volume they fill.

    A killed role loses none: what was copied is in its record, and the call that is made again
    goes on from there.
    """

    def __init__(self, directory: Path) -> None:
        self._records = RecordDirectory(directory, _encode, _decode)
        self._jobs: dict[str, _Job] = {}

    async def ensure(
        self,
        volume_id: str,
        size_bytes: int,
        open_source: Callable[[], Opened],
        destination: Path,
        *,
        sparse: bool,
    ) -> None:
        """Have the first `size_bytes` of the source in the destination.

        `sparse`: zeros are left out where the destination is known to be blank.
        Raises Aborted while it runs, telling how far it is; what went wrong in it, once.
        """
        job = self._jobs.get(volume_id)
        if job is None:
            copy = self._copy(volume_id, size_bytes, open_source, destination, sparse=sparse)
            job = self._jobs[volume_id] = _Job(asyncio.create_task(copy))
        ended, _ = await asyncio.wait({job.task}, timeout=_PATIENCE_SECONDS)
        if not ended:
            raise Aborted(
                f"{job.copied_bytes * 100 // max(size_bytes, 1)} % of {sizes.human(size_bytes)} "
                f"are copied into volume {volume_id}; call again."
            )
        self._jobs.pop(volume_id, None)
        if job.task.cancelled():
            raise Aborted(f"The copy into volume {volume_id} was stopped; call again.")
        job.task.result()

    def begin(self, volume_id: str) -> None:
        """Take note that a volume was made now, blank, to be copied into."""
        self._records.write(volume_id, Progress(0, blank=True))

    def is_complete(self, volume_id: str, size_bytes: int) -> bool:
        """Whether all of the source was copied into this volume."""
        progress = self._records.read(volume_id)
        return progress is not None and progress.copied_bytes == size_bytes

    async def forget(self, volume_id: str) -> bool:
        """Have no copy into this volume any more, and no record of one; whether one was stopped.
        Raises Unavailable where it does not end."""
        job = self._jobs.get(volume_id)
        if job is not None:
            if not job.task.cancelling():
                job.task.cancel()
            ended, _ = await asyncio.wait({job.task}, timeout=_STOP_SECONDS)
            if not ended:
                raise Unavailable(
                    f"The copy into volume {volume_id} waits for a disk: see the storage host of "
                    "its source and the network between, then call again."
                )
            del self._jobs[volume_id]
        self._records.remove(volume_id)
        return job is not None

    async def _copy(
        self,
        volume_id: str,
        size_bytes: int,
        open_source: Callable[[], Opened],
        destination: Path,
        *,
        sparse: bool,
    ) -> None:
        # Without a record, parts of an earlier copy may be in it.
        progress = self._records.read(volume_id) or Progress(0, blank=False)
        begin, sparse = progress.copied_bytes, sparse and progress.blank
        _log.info("copying", volume_id=volume_id, begin=begin, size=size_bytes)
        async with open_source() as source:
            steps = copied_steps(source, destination, begin, size_bytes, sparse=sparse)
            async with contextlib.aclosing(steps):  # before the source is closed
                async for copied in steps:
                    self._records.write(volume_id, replace(progress, copied_bytes=copied))
                    if job := self._jobs.get(volume_id):
                        job.copied_bytes = copied
        _log.info("copied", volume_id=volume_id, size=size_bytes)


async def copied_steps(
    source: Path, destination: Path, begin: int, end: int, *, sparse: bool
) -> AsyncGenerator[int]:
    """Copy a range of bytes, and tell after each step how far it is on the disk."""
    reader = _open(source, os.O_RDONLY)
    try:
        writer = _open(destination, os.O_RDWR | os.O_EXCL)
        try:
            for start in range(begin, end, _STEP_BYTES):
                stop = min(start + _STEP_BYTES, end)
                await to_the_end(_copy_range, reader, writer, start, stop, sparse=sparse)
                yield stop
        finally:
            os.close(writer)
    finally:
        os.close(reader)


def _open(path: Path, flags: int) -> int:
    try:
        return os.open(path, flags | os.O_CLOEXEC)
    except OSError as error:
        raise Unavailable(
            f"{path} cannot be opened for a copy ({error.strerror}): see what holds it, then call "
            "again."
        ) from error


def _copy_range(reader: int, writer: int, start: int, stop: int, *, sparse: bool) -> None:
    try:
        _copy_chunks(reader, writer, start, stop, sparse=sparse)
    except OSError as error:
        if error.errno == errno.ENOSPC:  # of a thin pool that fails writes when it is full
            raise OutOfSpace("The thin pool is full: extend it, or delete volumes.") from error
        raise Unavailable(
            f"The copy failed between {start} and {stop} bytes ({error.strerror}): see the storage "
            "host of the source and the disks of both, then call again."
        ) from error


def _copy_chunks(reader: int, writer: int, start: int, stop: int, *, sparse: bool) -> None:
    for offset in range(start, stop, _CHUNK_BYTES):
        data = os.pread(reader, min(_CHUNK_BYTES, stop - offset), offset)
        if len(data) < min(_CHUNK_BYTES, stop - offset):
            raise DriverError(f"The source ends at {offset + len(data)} bytes: it was shrunk.")
        if not (sparse and _is_zero(data)):
            _write_all(writer, data, offset)
    os.fsync(writer)
    # What was read once is not needed in memory, on either side.
    for descriptor in (reader, writer):
        os.posix_fadvise(descriptor, start, stop - start, os.POSIX_FADV_DONTNEED)


def _is_zero(data: bytes) -> bool:
    return not data.strip(b"\0")


def _write_all(writer: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(writer, view, offset)
        view, offset = view[written:], offset + written


def _encode(progress: Progress) -> dict[str, Any]:
    return asdict(progress)


def _decode(record: dict[str, Any]) -> Progress:
    return Progress(**record)
