"""NodePublishVolume and NodeUnpublishVolume, over what was recorded in the lab."""

from dataclasses import replace
from pathlib import Path

import pytest

from csi_lvm_iscsi.model.access import Capability
from csi_lvm_iscsi.model.errors import AlreadyExists, FailedPrecondition, NotFound
from tests.unit.node import record
from tests.unit.node.host import Host, published
from tests.unit.node.record import BLOCK, EXT4, OTHER_NONCE, VOLUME


async def staged(tmp_path: Path, capability: Capability) -> Host:
    name = "ext4" if capability.file_system else "block"
    host = Host(tmp_path, name, name)
    async with host.running():
        await host.flows().staging.stage(published(), host.staging, capability)
    host.commands.clear()
    return host


async def publish(
    host: Host, capability: Capability, target: Path, nonce: str = record.NONCE
) -> None:
    await host.flows().bind_mounts.publish(
        published(nonce), host.staging, target, capability, read_only=target == host.read_only
    )


@pytest.mark.parametrize("capability", [BLOCK, EXT4])
async def test_once_is_one_mount_however_often_it_is_called(
    tmp_path: Path, capability: Capability
) -> None:
    host = await staged(tmp_path, capability)
    for _ in range(2):
        await publish(host, capability, host.target)
    assert [argv[0] for argv in host.commands] == ["mount"]
    assert host.target.is_dir() == (capability is EXT4)
    for _ in range(2):
        await host.flows().bind_mounts.unpublish(VOLUME, host.target)
    assert [argv[0] for argv in host.commands] == ["mount", "umount"]
    assert not host.target.exists()


async def test_read_only_is_of_the_mount(tmp_path: Path) -> None:
    host = await staged(tmp_path, EXT4)
    await publish(host, EXT4, host.read_only)
    with pytest.raises(AlreadyExists, match="read-only"):
        await host.flows().bind_mounts.publish(
            published(), host.staging, host.read_only, EXT4, read_only=False
        )


async def test_what_is_not_staged_is_not_published(tmp_path: Path) -> None:
    host = Host(tmp_path, "ext4")
    with pytest.raises(FailedPrecondition, match="not staged"):
        await publish(host, EXT4, host.target)


async def test_a_stage_of_an_earlier_publication_does_not_count(tmp_path: Path) -> None:
    host = await staged(tmp_path, EXT4)
    with pytest.raises(FailedPrecondition, match="earlier publication"):
        await publish(host, EXT4, host.target, OTHER_NONCE)


async def test_staged_as_something_else(tmp_path: Path) -> None:
    host = await staged(tmp_path, EXT4)
    with pytest.raises(FailedPrecondition, match="staged as ext4, not as raw block"):
        await publish(host, BLOCK, host.target)


async def test_a_session_that_was_logged_out_meanwhile(tmp_path: Path) -> None:
    host = await staged(tmp_path, EXT4)
    host.end_session()
    with pytest.raises(FailedPrecondition, match="logged out"):
        await publish(host, EXT4, host.target)


async def test_a_staging_path_with_another_disk_is_refused(tmp_path: Path) -> None:
    """democratic-csi#559: a device mounted over the globalmount of another."""
    host = await staged(tmp_path, EXT4)
    mounted = host.paths.mountinfo.read_text()
    number = str(host.captured["dev"]).strip()
    host.paths.mountinfo.write_text(mounted.replace(f" {number} ", " 8:240 "))
    with pytest.raises(FailedPrecondition, match="8:240"):
        await publish(host, EXT4, host.target)


async def test_a_target_with_something_else_is_left_alone(tmp_path: Path) -> None:
    host = await staged(tmp_path, EXT4)
    with host.paths.mountinfo.open("a") as file:
        file.write(f"90 22 0:50 / {host.target} rw - tmpfs tmpfs rw\n")
    with pytest.raises(FailedPrecondition, match="something else"):
        await publish(host, EXT4, host.target)


async def test_a_single_writer_gets_one_target(tmp_path: Path) -> None:
    host = await staged(tmp_path, EXT4)
    single = Capability("SINGLE_NODE_SINGLE_WRITER", "ext4")
    for _ in range(2):
        await publish(host, single, host.target)
    with pytest.raises(FailedPrecondition, match="ReadWriteOncePod"):
        await publish(host, single, host.read_only)


@pytest.mark.parametrize("capability", [BLOCK, EXT4])
async def test_a_single_writer_is_published_again_beside_kubelets_own_mounts(
    tmp_path: Path, capability: Capability
) -> None:
    """kubelet calls anew when it was restarted, and has bound a subpath or the device by then."""
    host = await staged(tmp_path, capability)
    single = Capability("SINGLE_NODE_SINGLE_WRITER", capability.file_system)
    await publish(host, single, host.target)
    mounted = host.paths.mountinfo.read_text()
    own = mounted.splitlines()[-1].replace(str(host.target), str(tmp_path / "volume-subpaths/0"))
    host.paths.mountinfo.write_text(f"{mounted}{own}\n")
    await publish(host, single, host.target)
    assert [argv[0] for argv in host.commands] == ["mount"]


@pytest.mark.parametrize("capability", [BLOCK, EXT4])
async def test_another_disk_behind_the_same_session_is_refused(
    tmp_path: Path, capability: Capability
) -> None:
    host = await staged(tmp_path, capability)
    host.swap_disk()
    with pytest.raises(FailedPrecondition, match="serial number"):
        await publish(host, capability, host.target)
    assert not host.commands


async def test_ids_that_are_not_ours(tmp_path: Path) -> None:
    host = await staged(tmp_path, BLOCK)
    flows = host.flows()
    with pytest.raises(NotFound, match="no volume id"):
        await flows.bind_mounts.publish(
            replace(published(), volume_id="../x"),
            host.staging,
            host.target,
            BLOCK,
            read_only=False,
        )
    host.target.mkdir(parents=True)
    await flows.bind_mounts.unpublish("../x", host.target)
    assert host.target.exists()


async def test_raw_block_for_several_writers_is_staged_once_and_on_several_paths(
    tmp_path: Path,
) -> None:
    shared = Capability("MULTI_NODE_MULTI_WRITER", None)
    host = await staged(tmp_path, shared)
    for target in (host.target, host.read_only):
        await publish(host, shared, target)
    assert [argv[0] for argv in host.commands] == ["mount", "mount"]
    async with host.running():
        await host.flows().bind_mounts.unpublish(VOLUME, host.target)
        with pytest.raises(FailedPrecondition, match="still mounted"):
            await host.flows().staging.unstage(VOLUME, host.staging)
