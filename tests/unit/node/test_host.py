"""What is set up on the host when the role starts, and what it reads there."""

import asyncio
import threading
from pathlib import Path

import pytest

from csi_lvm_iscsi.initiator import host_rules
from csi_lvm_iscsi.initiator.blocking import bounded
from csi_lvm_iscsi.initiator.node_records import NodeRecords
from csi_lvm_iscsi.model.errors import DriverError, TookTooLong
from csi_lvm_iscsi.node.mounts import Mounts
from tests.unit.node.host import Host


async def test_the_rule_is_loaded_once(tmp_path: Path) -> None:
    host = Host(tmp_path, "block", "rules")
    for _ in range(2):
        await host_rules.ensure(host, host.paths)
    assert host.commands == [("udevadm", "control", "--reload")]
    (rule,) = host.paths.udev_rules.iterdir()
    assert 'ATTRS{vendor}=="CSILVM*"' in rule.read_text()


def test_the_interface_carries_the_initiator_name(tmp_path: Path) -> None:
    host = Host(tmp_path, "block")
    host.flows()
    interface = host.paths.iscsi / "ifaces" / "csi-lvm-iscsi"
    assert "iface.initiatorname = iqn.2026-11.io.github.csi-lvm-iscsi:node.compute-1\n" in (
        interface.read_text()
    )


def test_a_host_without_open_iscsi_is_told_so(tmp_path: Path) -> None:
    host = Host(tmp_path, "block")
    with pytest.raises(DriverError, match="install the package open-iscsi"):
        NodeRecords(host, tmp_path / "absent", "iqn").ensure_interface()


def test_names_in_mountinfo_are_unescaped(tmp_path: Path) -> None:
    host = Host(tmp_path, "block")
    host.paths.mountinfo.write_text(
        r"36 35 8:0 / /a\040b\134c ro,noatime shared:1 master:2 - ext4 /dev/sda rw" + "\n"
    )
    (mount,) = Mounts(host, host.paths.mountinfo).all()
    assert mount.target == Path("/a b\\c")
    assert mount.read_only
    assert mount.file_system == "ext4"


async def test_a_hung_call_is_left_to_itself() -> None:
    hung = threading.Event()
    with pytest.raises(TookTooLong, match="hangs"):
        await bounded(hung.wait, 0.01, "it hangs")
    hung.set()
    assert await bounded(lambda: 1, 10, "") == 1
    await asyncio.sleep(0)


async def test_what_a_call_raises_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        await bounded(lambda: 1 // 0, 10, "")
