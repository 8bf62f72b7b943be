"""NodeGetVolumeStats and NodeGetVolumeHealth, over what was recorded in the lab."""

import errno
import os
import threading
from pathlib import Path

import pytest

from csi_lvm_iscsi.model.access import Capability
from csi_lvm_iscsi.model.errors import FailedPrecondition, NotFound, TookTooLong, Unavailable
from csi_lvm_iscsi.node import volume_stats
from csi_lvm_iscsi.node.service import Flows
from tests.unit.node.host import Host, published
from tests.unit.node.record import BLOCK, EXT4, SIZE, VOLUME


async def staged(tmp_path: Path, capability: Capability) -> tuple[Host, Flows]:
    name = "ext4" if capability.file_system else "block"
    host = Host(tmp_path, name, name)
    flows = host.flows()
    async with host.running():
        await flows.staging.stage(published(), host.staging, capability)
    await flows.bind_mounts.publish(
        published(), host.staging, host.target, capability, read_only=False
    )
    host.commands.clear()
    return host, flows


async def reasons(flows: Flows, path: Path | None) -> list[str]:
    return [trouble.reason for trouble in await flows.volume_stats.health(VOLUME, path)]


async def test_a_file_system_tells_bytes_and_inodes(tmp_path: Path) -> None:
    host, flows = await staged(tmp_path, EXT4)
    truth = os.statvfs(host.target)
    for path in (host.target, host.staging):
        stats = await flows.volume_stats.stats(VOLUME, path)
        assert stats.bytes.total == truth.f_blocks * truth.f_frsize
        assert stats.bytes.used + stats.bytes.available <= stats.bytes.total
        assert stats.inodes is not None
        assert stats.inodes.total == truth.f_files
    assert await reasons(flows, host.target) == []
    assert not host.commands


async def test_raw_block_tells_its_size(tmp_path: Path) -> None:
    host, flows = await staged(tmp_path, BLOCK)
    stats = await flows.volume_stats.stats(VOLUME, host.target)
    assert (stats.bytes.total, stats.inodes) == (SIZE, None)
    assert await reasons(flows, None) == []


@pytest.mark.parametrize("capability", [BLOCK, EXT4])
async def test_a_session_that_is_cut(tmp_path: Path, capability: Capability) -> None:
    host, flows = await staged(tmp_path, capability)
    session = next((host.paths.sys / "class" / "iscsi_session").iterdir())
    (session / "state").write_text("FAILED\n")
    assert await reasons(flows, host.target) == ["SessionCut"]
    if capability is EXT4:
        with pytest.raises(Unavailable, match="is cut"):
            await flows.volume_stats.stats(VOLUME, host.target)


async def test_a_session_that_is_gone(tmp_path: Path) -> None:
    host, flows = await staged(tmp_path, EXT4)
    host.end_session()
    assert await reasons(flows, host.target) == ["DiskGone"]


async def test_the_size_of_raw_block_without_its_disk_is_the_published_one(tmp_path: Path) -> None:
    host, flows = await staged(tmp_path, BLOCK)
    host.end_session()
    assert (await flows.volume_stats.stats(VOLUME, host.target)).bytes.total == SIZE


async def test_a_disk_that_is_offline(tmp_path: Path) -> None:
    host, flows = await staged(tmp_path, EXT4)
    (host.scsi / "state").write_text("transport-offline\n")
    (trouble,) = await flows.volume_stats.health(VOLUME, host.target)
    assert trouble.reason == "DiskOffline"
    assert "is transport-offline" in trouble.message


async def test_a_file_system_that_an_error_made_read_only(tmp_path: Path) -> None:
    host, flows = await staged(tmp_path, EXT4)
    text = host.paths.mountinfo.read_text()
    device = f"/dev/{host.captured['disk']}"
    host.paths.mountinfo.write_text(text.replace(f"{device} rw", f"{device} ro"))
    assert await reasons(flows, host.target) == ["FileSystemReadOnly"]


async def test_errors_that_the_kernel_counted(tmp_path: Path) -> None:
    host, flows = await staged(tmp_path, EXT4)
    errors = host.paths.sys / "fs" / "ext4" / str(host.captured["disk"]) / "errors_count"
    errors.parent.mkdir(parents=True)
    for count, expected in (("0\n", []), ("3\n", ["FileSystemErrors"])):
        errors.write_text(count)
        assert await reasons(flows, host.target) == expected


async def test_a_file_system_that_was_shut_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, flows = await staged(tmp_path, EXT4)

    def shut_down(_: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "statvfs", shut_down)
    assert await reasons(flows, host.target) == ["FileSystemShutDown"]
    with pytest.raises(FailedPrecondition, match="Input/output error"):
        await flows.volume_stats.stats(VOLUME, host.target)


async def test_a_file_system_that_hangs_is_asked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, flows = await staged(tmp_path, EXT4)
    answer, asked = threading.Event(), []
    truth = os.statvfs(host.target)

    def hang(path: Path) -> os.statvfs_result:
        asked.append(path)
        answer.wait()
        return truth

    monkeypatch.setattr(os, "statvfs", hang)
    monkeypatch.setattr(volume_stats, "_SECONDS", 0.02)
    assert await reasons(flows, host.target) == ["FileSystemHangs"]
    with pytest.raises(TookTooLong, match="hangs"):
        await flows.volume_stats.stats(VOLUME, host.target)
    assert len(asked) == 1
    answer.set()
    monkeypatch.setattr(volume_stats, "_SECONDS", 10)
    assert await reasons(flows, host.target) == []


async def test_a_staging_path_on_which_nothing_is_mounted_any_more(tmp_path: Path) -> None:
    host, flows = await staged(tmp_path, EXT4)
    host.paths.mountinfo.write_text("")
    assert await reasons(flows, host.staging) == ["NotMounted"]
    with pytest.raises(FailedPrecondition, match="not mounted"):
        await flows.volume_stats.stats(VOLUME, host.staging)


async def test_paths_and_volumes_that_are_not_there(tmp_path: Path) -> None:
    host, flows = await staged(tmp_path, EXT4)
    for volume, path in (
        (VOLUME, tmp_path),
        ("0123abcd-other", host.target),
        ("../x", host.target),
    ):
        with pytest.raises(NotFound):
            await flows.volume_stats.stats(volume, path)
        with pytest.raises(NotFound):
            await flows.volume_stats.health(volume, path)
