"""Disks of other storage hosts, over what was recorded of a node: it logs in the same way."""

from dataclasses import replace
from pathlib import Path

import pytest

from csi_lvm_iscsi.model import chap
from csi_lvm_iscsi.model.errors import Aborted
from csi_lvm_iscsi.storage.remote import RemoteDisks
from tests.unit.node import record
from tests.unit.node.host import PORTAL, Host, published

OTHER_PORTAL = "10.0.1.2:3260"


def remote_disks(host: Host) -> RemoteDisks:
    keys = {"1": record.KEY}
    return RemoteDisks(host, record.NODE, keys, host.paths, mapper=host.mapper, probe=host.answers)


@pytest.mark.parametrize(
    ("portals", "dead"),
    [((PORTAL, OTHER_PORTAL), set()), ((OTHER_PORTAL, PORTAL), {OTHER_PORTAL})],
)
async def test_of_several_portals_one_that_answers_is_used_and_no_map_is_made(
    tmp_path: Path, portals: tuple[str, ...], dead: set[str]
) -> None:
    """The map of a host without an upkeep of paths would keep I/O for ever."""
    host = Host(tmp_path, "block", "block")
    host.dead_portals = dead
    remote = remote_disks(host)
    async with (
        host.running(),
        remote.opened(replace(published(), portals=portals)) as path,
        remote.opened(replace(published(), portals=portals)) as again,
    ):
        assert path == again == host.disk
        (kept,) = host.paths.iscsi.glob("nodes/*/*")
        assert "node.session.timeo.replacement_timeout = 600\n" in kept.read_text()
        assert not host.mapper.maps()
    assert [argv[-1] for argv in host.commands if argv[0] == "iscsiadm"].count("--login") == 1
    assert host.state()["sessions"] == []
    assert host.state()["targets"] == []


async def test_a_map_that_a_former_publication_left_goes(tmp_path: Path) -> None:
    host = Host(tmp_path, "block", "block")
    host.mapper.create(f"CSILVM-{record.OTHER_NONCE}-{record.VOLUME}")
    async with host.running(), remote_disks(host).opened(published()):
        assert not host.mapper.maps()
        assert ("dm", "message", "fail_if_no_path") in host.commands


async def test_what_is_read_for_a_former_publication_is_not_cut(tmp_path: Path) -> None:
    host = Host(tmp_path, "block", "block")
    host.user = chap.user(record.VOLUME, record.OTHER_NONCE)
    remote = remote_disks(host)
    async with host.running(), remote.opened(published(record.OTHER_NONCE)) as path:
        with pytest.raises(Aborted, match="lent to this host anew"):
            async with remote.opened(published()):
                pass
        assert path.exists()
        assert not any("--logout" in argv for argv in host.commands)
