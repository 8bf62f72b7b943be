"""NodeExpandVolume, over what was recorded in the lab."""

from pathlib import Path

import pytest

from csi_lvm_iscsi.model.access import Capability
from csi_lvm_iscsi.model.errors import FailedPrecondition, NotFound, OutOfRange, TookTooLong
from csi_lvm_iscsi.node import expansion
from tests.unit.node.host import Host, Killed, published
from tests.unit.node.record import BLOCK, EXT4, GROWN, SIZE, VOLUME, XFS

ALL = pytest.mark.parametrize(
    ("name", "capability"), [("block", BLOCK), ("ext4", EXT4), ("xfs", XFS)]
)
GROW = {"block": [], "ext4": ["resize2fs"], "xfs": ["xfs_growfs"]}


async def staged(tmp_path: Path, name: str, capability: Capability) -> Host:
    host = Host(tmp_path, name, name)
    async with host.running():
        await host.flows().staging.stage(published(), host.staging, capability)
    await host.flows().bind_mounts.publish(
        published(), host.staging, host.target, capability, read_only=False
    )
    host.commands.clear()
    host.captured.setdefault("grown_size", f"{GROWN // 512}\n")
    return host


async def expand(host: Host, path: Path, required: int = 0, limit: int = 0) -> int:
    async with host.running():
        return await host.flows().expansion.expand(VOLUME, path, required, limit)


@ALL
async def test_once_is_one_growth_however_often_it_is_called(
    tmp_path: Path, name: str, capability: Capability
) -> None:
    host = await staged(tmp_path, name, capability)
    host.grown = True
    for path in (host.target, host.staging):
        assert await expand(host, path, GROWN) == GROWN
    assert [argv[0] for argv in host.commands] == GROW[name]


@ALL
async def test_without_a_size_it_is_the_disks(
    tmp_path: Path, name: str, capability: Capability
) -> None:
    host = await staged(tmp_path, name, capability)
    assert await expand(host, host.target) == SIZE
    assert not host.commands


@pytest.mark.parametrize(("name", "capability"), [("ext4", EXT4), ("xfs", XFS)])
async def test_it_goes_on_where_it_was_killed(
    tmp_path: Path, name: str, capability: Capability
) -> None:
    host = await staged(tmp_path, name, capability)
    host.grown = True
    host.die_after = 0
    with pytest.raises(Killed):
        await expand(host, host.target, GROWN)
    host.die_after = None
    assert await expand(host, host.target, GROWN) == GROWN
    assert [argv[0] for argv in host.commands] == GROW[name]


async def test_a_disk_that_did_not_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expansion, "_GROWN_SECONDS", 0.02)
    host = await staged(tmp_path, "ext4", EXT4)
    with pytest.raises(TookTooLong, match="has 320 MiB, not 384 MiB: the storage host has not"):
        await expand(host, host.target, GROWN)
    assert not host.commands


async def test_a_limit_that_is_passed_already(tmp_path: Path) -> None:
    host = await staged(tmp_path, "ext4", EXT4)
    with pytest.raises(OutOfRange, match="do not shrink"):
        await expand(host, host.target, 0, SIZE - 1)


async def test_paths_that_are_not_the_volumes(tmp_path: Path) -> None:
    host = await staged(tmp_path, "ext4", EXT4)
    for path in (tmp_path, Path("/"), host.read_only):
        with pytest.raises(NotFound, match="is not on"):
            await expand(host, path)


async def test_a_volume_that_is_not_staged(tmp_path: Path) -> None:
    host = Host(tmp_path, "ext4")
    with pytest.raises(NotFound, match="not staged"):
        await expand(host, host.staging)
    with pytest.raises(NotFound, match="no volume id"):
        await host.flows().expansion.expand("../x", host.staging, 0, 0)


async def test_a_volume_staged_before_a_boot_is_not_staged_now(tmp_path: Path) -> None:
    host = await staged(tmp_path, "ext4", EXT4)
    host.paths.boot_id.write_text("another boot\n")
    with pytest.raises(NotFound, match="not staged"):
        await expand(host, host.staging)


async def test_nothing_but_the_volumes_own_mount_is_grown(tmp_path: Path) -> None:
    """xfs_growfs grows whatever its path is in: without our mount that is the host's own."""
    host = await staged(tmp_path, "xfs", XFS)
    host.grown = True
    lines = host.paths.mountinfo.read_text().splitlines(keepends=True)
    host.paths.mountinfo.write_text("".join(x for x in lines if f" {host.staging} " not in x))
    with pytest.raises(FailedPrecondition, match="not mounted on"):
        await expand(host, host.target, GROWN)
    assert not host.commands
