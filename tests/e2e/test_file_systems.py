"""ext4 and XFS on volumes: copies beside their origin, readers, killed mkfs, options, discard."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from tests.e2e.driver import MIB, Driver, Refused, Volume, checksum, write_pattern
from tests.e2e.lab.host import Host
from tests.e2e.lab.lab import Lab

NODE = "compute-1"
SIZE = {"ext4": 64 * MIB, "xfs": 320 * MIB}
READER = "SINGLE_NODE_READER_ONLY"

EACH = pytest.mark.parametrize("fs_type", ["ext4", "xfs"])


def new(driver: Driver, name: Callable[[], str], fs_type: str) -> Volume:
    return driver.create(name(), block=False, size=SIZE[fs_type], fs_type=fs_type)


def super_options(host: Host, volume: Volume) -> list[str]:
    """What the file system of a published volume is mounted with, its type first."""
    found = host.exec("findmnt", "-no", "FSTYPE,OPTIONS", volume.target_path).check()
    return found.text.replace(" ", ",").split(",")


def copy(driver: Driver, host: Host, origin: Volume, name: str) -> Volume:
    """A copy of a mounted volume as it is at this moment: its journal is not replayed."""
    raw = driver.create(name, size=SIZE[origin.fs_type])
    driver.attach(raw, host.name)
    script = (
        'dd if="$(findmnt -no SOURCE "$1")" of="$2" bs=1M iflag=direct oflag=direct conv=sparse'
    )
    host.exec("sync", "-f", origin.target_path).check()
    host.exec("sh", "-c", script, "sh", origin.target_path, raw.target_path, timeout=300).check()
    driver.detach(raw, host.name)
    return replace(raw, block=False, fs_type=origin.fs_type)


def hash_on_storage(lab: Lab, volume: Volume) -> str:
    """The checksum of all of a volume, read where it is stored."""
    script = 'for lv in /dev/vg0/"$1"; do [ ! -e "$lv" ] || sha256sum <"$lv"; done'
    hosts = [host for host in lab.hosts.values() if host.identity.kind == "storage"]
    (found,) = filter(None, (h.exec("sh", "-c", script, "sh", volume.id).text for h in hosts))
    return found


def test_xfs_moves_with_its_data(lab: Lab, driver: Driver, name: Callable[[], str]) -> None:
    volume = new(driver, name, "xfs")
    driver.attach(volume, "compute-1")
    write_pattern(lab.host("compute-1"), volume, "written on compute-1")
    written = checksum(lab.host("compute-1"), volume)
    driver.detach(volume, "compute-1")

    driver.attach(volume, "compute-2")
    assert super_options(lab.host("compute-2"), volume)[0] == "xfs"
    assert checksum(lab.host("compute-2"), volume) == written
    driver.detach(volume, "compute-2")
    driver.delete(volume)


@EACH
def test_a_copy_is_used_beside_its_origin_read_only_then_written(
    lab: Lab, driver: Driver, name: Callable[[], str], fs_type: str
) -> None:
    """Both have the same UUID, and the copy's journal is not replayed. A reader leaves not one
    byte behind."""
    host = lab.host(NODE)
    origin = new(driver, name, fs_type)
    driver.attach(origin, NODE)
    write_pattern(host, origin, "of the origin")
    written = checksum(host, origin)
    writer = copy(driver, host, origin, name())
    before = hash_on_storage(lab, writer)

    reader = replace(writer, mode=READER)
    driver.attach(reader, NODE)
    assert "ro" in super_options(host, reader)
    assert "Read-only" in host.exec("touch", f"{reader.target_path}/new").stderr.decode()
    driver.detach(reader, NODE)
    assert hash_on_storage(lab, writer) == before

    driver.attach(writer, NODE)
    assert checksum(host, writer) == written
    write_pattern(host, writer, "of the copy")
    assert checksum(host, origin) == written
    for volume in (writer, origin):
        driver.detach(volume, NODE)
        driver.delete(volume)


def test_a_read_only_publish_to_a_pod(lab: Lab, driver: Driver, name: Callable[[], str]) -> None:
    volume = new(driver, name, "ext4")
    driver.publish(volume, NODE)
    driver.stage(volume, NODE)
    for _ in range(2):
        driver.publish_to_pod(volume, NODE, readonly=True)
    refused = lab.host(NODE).exec("touch", f"{volume.target_path}/new")
    assert "Read-only" in refused.stderr.decode()
    driver.detach(volume, NODE)
    driver.delete(volume)


@EACH
def test_a_blank_volume_is_nothing_for_readers(
    driver: Driver, name: Callable[[], str], fs_type: str
) -> None:
    volume = replace(new(driver, name, fs_type), mode=READER)
    driver.publish(volume, NODE)
    with pytest.raises(Refused, match="holds no file system, and is read-only") as refused:
        driver.stage(volume, NODE)
    assert refused.value.code == "FAILED_PRECONDITION"
    driver.unpublish(volume, NODE)
    driver.delete(volume)


def test_xfs_is_made_again_after_its_mkfs_was_killed(
    lab: Lab, driver: Driver, name: Callable[[], str]
) -> None:
    """Killed when its superblock is there, and before its log is."""
    host = lab.host(NODE)
    volume = new(driver, name, "xfs")
    driver.publish(volume, NODE)
    with killed_at_its_fourth_write(host), pytest.raises(Refused, match=r"mkfs\.xfs.*-9"):
        driver.stage(volume, NODE)
    superblock = "head -c 4 /dev/vg0/" + volume.id
    stored = [lab.host(h).exec("sh", "-c", superblock).text for h in ("storage-1", "storage-2")]
    assert "XFSB" in stored
    driver.stage(volume, NODE)
    driver.publish_to_pod(volume, NODE)
    write_pattern(host, volume, "at last")
    driver.detach(volume, NODE)
    driver.delete(volume)


@contextlib.contextmanager
def killed_at_its_fourth_write(host: Host) -> Iterator[None]:
    """mkfs.xfs writes zeroes to the end and the start of the device, the superblock, then the log
    (xfsprogs 6.1, mkfs/xfs_mkfs.c, prepare_devices). The node role does not call pwrite64."""
    role = host.exec("pgrep", "-f", "csi_lvm_iscsi node").check().text
    tracing = host.start(
        "strace", "--follow-forks", "--output=/dev/null", "--trace=pwrite64",
        "--inject=pwrite64:signal=KILL:when=4", f"--attach={role}",
    )  # fmt: skip
    traced = f"until grep -q 'TracerPid:.[1-9]' /proc/{role}/status; do sleep 0.1; done"
    host.exec("sh", "-c", traced).check()
    try:
        yield
    finally:
        host.exec("pkill", "-INT", "-x", "strace").check()
        tracing.wait(30)


def test_a_volume_too_small_for_xfs(driver: Driver, name: Callable[[], str]) -> None:
    volume = driver.create(name(), block=False, size=296 * MIB, fs_type="xfs")
    driver.publish(volume, NODE)
    with pytest.raises(Refused, match="xfs needs at least 300 MiB") as refused:
        driver.stage(volume, NODE)
    assert refused.value.code == "OUT_OF_RANGE"
    driver.unpublish(volume, NODE)
    driver.delete(volume)


def test_the_smallest_volume_for_xfs(driver: Driver, name: Callable[[], str]) -> None:
    volume = driver.create(name(), block=False, size=300 * MIB, fs_type="xfs")
    driver.attach(volume, NODE)
    driver.detach(volume, NODE)
    driver.delete(volume)


@EACH
def test_mount_options(lab: Lab, driver: Driver, name: Callable[[], str], fs_type: str) -> None:
    """One that is refused is named. `discard` and fstrim do no harm: tgt 1.0.85 announces no UNMAP,
    and Linux sends none."""
    host = lab.host(NODE)
    volume = new(driver, name, fs_type)
    driver.publish(volume, NODE)
    with pytest.raises(Refused, match=r"mount options that were asked for \(nonsense\)") as refused:
        driver.stage(replace(volume, mount_flags=("nonsense",)), NODE)
    assert refused.value.code == "FAILED_PRECONDITION"
    driver.unpublish(volume, NODE)

    quiet = replace(volume, mount_flags=("noatime,discard", "rw"))
    driver.attach(quiet, NODE)
    assert "noatime" in super_options(host, quiet)
    write_pattern(host, quiet, "to be freed")
    host.exec("rm", quiet.data_path).check()
    trim = host.exec("fstrim", quiet.target_path)
    assert "not supported" in trim.stderr.decode()
    limits = "cat /sys/block/sda/queue/{discard,write_zeroes}_max_bytes"
    assert host.exec("bash", "-c", limits).check().text.split() == ["0", "0"]
    write_pattern(host, quiet, "written again")
    health = driver.node(
        NODE, "NodeGetVolumeHealth", volume_id=volume.id, staging_target_path=volume.staging_path
    )
    assert "healthStatuses" not in health["volumeHealth"]
    driver.detach(quiet, NODE)
    driver.delete(volume)
