"""Disks that hang, lose writes or read short."""

import asyncio
import os
import threading
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from csi_lvm_iscsi.initiator.devices import Devices, ScsiDisk
from csi_lvm_iscsi.model.errors import DriverError, TookTooLong
from csi_lvm_iscsi.node.filesystems import FileSystems
from csi_lvm_iscsi.node.mounts import Mounts
from tests.unit.node.host import Host


def device(path: Path) -> ScsiDisk:
    return ScsiDisk(path.name, path, "8:0", path.parent / "scsi")


def hung(tmp_path: Path) -> ScsiDisk:
    """A pipe: to open it hangs until it has a writer, and to fsync it fails."""
    os.mkfifo(tmp_path / "sda")
    return device(tmp_path / "sda")


def calls() -> int:
    return [thread.name for thread in threading.enumerate()].count("blocking-call")


async def test_a_flush_that_hangs_is_waited_for_again(tmp_path: Path) -> None:
    disk, devices, before = hung(tmp_path), Devices(tmp_path, tmp_path), calls()
    with capture_logs() as logs:
        for _ in range(2):
            with pytest.raises(TookTooLong, match="written out"):
                await devices.flush(disk, 0.02)
        assert calls() == before + 1
        writer = os.open(disk.path, os.O_RDWR)
        await devices.flush(disk, 10)
        assert [entry["event"] for entry in logs] == ["cached writes are lost"]
        await devices.flush(disk, 10)
    os.close(writer)
    assert len(logs) == 2


async def test_writes_that_are_lost_while_nobody_waits_are_logged(tmp_path: Path) -> None:
    disk = hung(tmp_path)
    with capture_logs() as logs:
        with pytest.raises(TookTooLong):
            await Devices(tmp_path, tmp_path).flush(disk, 0.02)
        writer = os.open(disk.path, os.O_RDWR)
        async with asyncio.timeout(10):
            while not logs:  # noqa: ASYNC110 - the log has no event to wait for
                await asyncio.sleep(0.001)
    os.close(writer)
    assert logs[0]["event"] == "cached writes are lost"
    assert logs[0]["device"] == "sda"


async def test_a_disk_that_reads_short_is_not_taken_for_blank(tmp_path: Path) -> None:
    host = Host(tmp_path, "blank", "blank")
    short = Path("/sys/kernel/uevent_seqnum")  # its size is a page, its content a number
    file_systems = FileSystems(
        host, Devices(tmp_path, tmp_path), Mounts(host, host.paths.mountinfo)
    )
    with pytest.raises(DriverError, match="ends before its size"):
        await file_systems._ensure(device(short), "ext4", "0", read_only=False)
    assert not host.commands
