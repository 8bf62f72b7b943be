"""Disks of other storage hosts, over what was recorded of a node: it logs in the same way."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from csi_lvm_iscsi.commands.runner import Completed, Where
from csi_lvm_iscsi.initiator.node_records import INTERFACE, STORAGE_INTERFACE
from csi_lvm_iscsi.model import chap, names
from csi_lvm_iscsi.model.errors import Aborted
from csi_lvm_iscsi.storage.remote import RemoteDisks
from tests.unit.node import record
from tests.unit.node.host import PORTAL, Host, published

OTHER_PORTAL = "10.0.1.2:3260"


class StorageHost(Host):
    """A node's commands, by the interface record of the role storage."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, "block", "block", "rules")

    async def run(
        self,
        *argv: str,
        where: Where,
        seconds: float,
        expect: Sequence[int] = (0,),
        kill: bool = True,
    ) -> Completed:
        """See Runner.run."""
        assert INTERFACE not in argv
        recorded = [INTERFACE if word == STORAGE_INTERFACE else word for word in argv]
        return await super().run(*recorded, where=where, seconds=seconds, expect=expect, kill=kill)


def remote_disks(host: Host) -> RemoteDisks:
    keys = {"1": record.KEY}
    return RemoteDisks(host, "storage-1", keys, host.paths, mapper=host.mapper, probe=host.answers)


@pytest.mark.parametrize(
    ("portals", "dead"),
    [((PORTAL, OTHER_PORTAL), set()), ((OTHER_PORTAL, PORTAL), {OTHER_PORTAL})],
)
async def test_of_several_portals_one_that_answers_is_used_and_no_map_is_made(
    tmp_path: Path, portals: tuple[str, ...], dead: set[str]
) -> None:
    """The map of a host without an upkeep of paths would keep I/O for ever."""
    host = StorageHost(tmp_path)
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
    host = StorageHost(tmp_path)
    host.mapper.create(f"CSILVM-{record.OTHER_NONCE}-{record.VOLUME}")
    async with host.running(), remote_disks(host).opened(published()):
        assert not host.mapper.maps()
        assert ("dm", "message", "fail_if_no_path") in host.commands


async def test_what_is_read_for_a_former_publication_is_not_cut(tmp_path: Path) -> None:
    host = StorageHost(tmp_path)
    host.user = chap.user(record.VOLUME, record.OTHER_NONCE)
    remote = remote_disks(host)
    async with host.running(), remote.opened(published(record.OTHER_NONCE)) as path:
        with pytest.raises(Aborted, match="lent to this host anew"):
            async with remote.opened(published()):
                pass
        assert path.exists()
        assert not any("--logout" in argv for argv in host.commands)


async def test_the_role_node_of_the_host_keeps_its_own_initiator_name(tmp_path: Path) -> None:
    host = StorageHost(tmp_path)
    host.flows()
    async with host.running(), remote_disks(host).opened(published()):
        pass
    for interface, node in ((INTERFACE, record.NODE), (STORAGE_INTERFACE, "storage-1")):
        carried = (host.paths.iscsi / "ifaces" / interface).read_text()
        assert f"iface.iscsi_ifacename = {interface}\n" in carried
        assert f"iface.initiatorname = {names.initiator_iqn(node)}\n" in carried


async def test_the_hosts_tools_are_kept_off_before_the_disk_is_there(tmp_path: Path) -> None:
    host = StorageHost(tmp_path)
    async with host.running(), remote_disks(host).opened(published()):
        assert list(host.paths.udev_rules.iterdir())
    told = host.commands.index(("udevadm", "control", "--reload"))
    assert not any("--login" in argv for argv in host.commands[:told])
