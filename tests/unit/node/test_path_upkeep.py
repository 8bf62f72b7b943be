"""What the upkeep of paths does beside calls and failures, over what was recorded in the lab."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from csi_lvm_iscsi.initiator.devices import Devices
from csi_lvm_iscsi.initiator.node_records import NodeRecords
from csi_lvm_iscsi.initiator.sessions import Sessions
from csi_lvm_iscsi.model import names
from tests.unit.node.multipath_host import MultipathHost, look, stage
from tests.unit.node.record import VOLUME


def failing(number: int) -> OSError:
    return OSError(number, os.strerror(number))


async def test_an_error_of_the_system_does_not_end_the_upkeep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = MultipathHost(tmp_path)
    await stage(host)

    def fail(*_: object) -> dict[str, str]:
        raise failing(errno.EIO)

    for owner, name in ((host.mapper, "maps"), (Devices, "state"), (NodeRecords, "portals")):
        with monkeypatch.context() as patched, capture_logs() as logs:
            patched.setattr(owner, name, fail)
            await look(host)
        assert [entry["error"] for entry in logs] == ["[Errno 5] Input/output error"]
    await look(host)


async def test_what_goes_while_it_is_listed_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = MultipathHost(tmp_path)
    await stage(host)
    sessions = Sessions(host, host.paths.sys)
    devices = Devices(host.paths.sys, host.paths.dev)
    records = NodeRecords(host, host.paths.iscsi, "iqn")
    target = names.target_iqn(VOLUME)
    (session, _) = sessions.of_volume(VOLUME)
    glob = Path.glob

    def going(path: Path, pattern: str) -> Iterator[Path]:
        yield from glob(path, pattern) if pattern == "session*" else ()
        if pattern != "session*":
            raise failing(errno.ENOENT)

    monkeypatch.setattr(Path, "glob", going)
    assert sessions.of_volume(VOLUME) == ()
    assert devices.all(session) == ()
    assert records.portals(target) == ()
    assert records.target_of(VOLUME) == ""


async def test_a_disk_that_goes_while_it_is_written_to_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = MultipathHost(tmp_path)
    await stage(host)
    devices = Devices(host.paths.sys, host.paths.dev)
    (session, _) = Sessions(host, host.paths.sys).of_volume(VOLUME)
    (disk,) = devices.all(session)

    def write(*_: object) -> int:
        raise failing(errno.ENODEV)

    monkeypatch.setattr(Path, "write_text", write)
    await devices.set_offline(disk)
