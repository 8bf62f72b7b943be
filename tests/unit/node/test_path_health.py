"""What is told of volumes with several portals, over what was recorded in the lab."""

from dataclasses import replace
from pathlib import Path

import pytest

from csi_lvm_iscsi.model.errors import Unavailable
from tests.unit.node.multipath_host import MultipathHost, stage
from tests.unit.node.record import VOLUME


async def reasons(host: MultipathHost) -> list[str]:
    troubles = await host.flows().volume_stats.health(VOLUME, host.staging)
    return [trouble.reason for trouble in troubles]


def mount(host: MultipathHost) -> None:
    """Have what is staged be a file system: an empty directory of this host."""
    flows = host.flows()
    staged = flows.staging._records.read(VOLUME)
    assert staged is not None
    flows.staging._records.write(VOLUME, replace(staged, file_system="ext4"))
    host.staging.mkdir()
    host.paths.mountinfo.write_text(
        f"36 22 {staged.number} / {host.staging} rw - ext4 /dev/{staged.device} rw\n"
    )


async def test_a_disk_that_takes_no_io_is_no_path(tmp_path: Path) -> None:
    host = MultipathHost(tmp_path)
    await stage(host)
    assert await reasons(host) == []
    host.set_state(host.portals[0], "LOGGED_IN", "offline")
    assert await reasons(host) == ["PathLost"]
    host.set_state(host.portals[1], "LOGGED_IN", "offline")
    assert await reasons(host) == ["DiskOffline"]


async def test_a_map_that_is_not_finished(tmp_path: Path) -> None:
    host = MultipathHost(tmp_path)
    await stage(host)
    (host.paths.sys / "block" / "dm-0" / "size").write_text("0\n")
    assert await reasons(host) == ["DiskOffline"]


async def test_a_lost_path_hides_neither_usage_nor_worse_troubles(tmp_path: Path) -> None:
    host = MultipathHost(tmp_path)
    await stage(host)
    mount(host)
    host.cut(host.portals[0])
    assert await reasons(host) == ["PathLost"]
    assert (await host.flows().volume_stats.stats(VOLUME, host.staging)).inodes is not None
    errors = host.paths.sys / "fs" / "ext4" / "dm-0" / "errors_count"
    errors.parent.mkdir(parents=True)
    errors.write_text("3\n")
    assert await reasons(host) == ["FileSystemErrors"]
    host.cut(host.portals[1])
    assert await reasons(host) == ["SessionCut"]
    with pytest.raises(Unavailable, match="is cut"):
        await host.flows().volume_stats.stats(VOLUME, host.staging)
