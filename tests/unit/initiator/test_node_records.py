"""iscsiadm's database, when the role dies while it writes there."""

import resource
from pathlib import Path

import pytest

from csi_lvm_iscsi.initiator.node_records import NodeRecords
from csi_lvm_iscsi.model import names
from tests.unit.node.host import PORTAL, Host
from tests.unit.node.record import VOLUME

TARGET = names.target_iqn(VOLUME)
_UNLIMITED = resource.getrlimit(resource.RLIMIT_FSIZE)


class FullHost(Host):
    """When iscsiadm made a record, not one byte more can be written."""

    def _change(self, argv: tuple[str, ...]) -> None:
        super()._change(argv)
        if argv[-1] == "new":
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, _UNLIMITED[1]))


async def test_half_a_write_is_no_portal_for_iscsiadm_and_is_removed(tmp_path: Path) -> None:
    host = FullHost(tmp_path, "block", "block")
    records = NodeRecords(host, host.paths.iscsi, "iqn")
    try:
        with pytest.raises(OSError, match="File too large"):
            await records.write(TARGET, [PORTAL], "user", "password", several=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, _UNLIMITED)
    written = [path.name for path in (host.paths.iscsi / "nodes" / TARGET).iterdir()]
    assert written == list(host.captured["record"])
    await records.forget(VOLUME)
    assert list((host.paths.iscsi / "nodes").iterdir()) == []
    assert [path.name for path in host.paths.iscsi.iterdir()] == ["nodes"]


async def test_the_next_write_takes_half_a_write_over(tmp_path: Path) -> None:
    host = Host(tmp_path, "block", "block")
    (host.paths.iscsi / ".csi-lvm-iscsi.new").write_text("half")
    records = NodeRecords(host, host.paths.iscsi, "iqn")
    records.ensure_interface()
    await records.write(TARGET, [PORTAL], "user", "password", several=False)
    assert sorted(path.name for path in host.paths.iscsi.iterdir()) == ["ifaces", "nodes"]
    assert [path.name for path in (host.paths.iscsi / "ifaces").iterdir()] == ["csi-lvm-iscsi"]


async def test_one_record_of_iscsiadm_serves_for_all_targets_until_its_configuration_changes(
    tmp_path: Path,
) -> None:
    host = Host(tmp_path, "block", "block")
    records = NodeRecords(host, host.paths.iscsi, "iqn")
    other = f"{TARGET}-other"

    async def write(target: str, user: str) -> str:
        await records.write(target, [PORTAL], user, "password", several=False)
        (path,) = (host.paths.iscsi / "nodes" / target).iterdir()
        assert path.stat().st_mode & 0o077 == 0, "it has a password"
        return path.read_text()

    first = await write(TARGET, "user-1")
    assert await write(other, "user-2") == first.replace(TARGET, other).replace("user-1", "user-2")
    assert len(host.commands) == 1
    assert (host.paths.iscsi / "nodes" / other).stat().st_mode & 0o777 == 0o700

    await records.forget(VOLUME)
    (host.paths.iscsi / "iscsid.conf").write_text("node.session.timeo.replacement_timeout = 1\n")
    await write(TARGET, "user-1")
    assert [argv[-1] for argv in host.commands] == ["new", "delete", "new"]
