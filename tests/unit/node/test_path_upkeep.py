"""What the upkeep of paths does beside calls and failures, over what was recorded in the lab."""

import asyncio
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from csi_lvm_iscsi.commands.waiting import until
from csi_lvm_iscsi.initiator import path_upkeep
from csi_lvm_iscsi.initiator.devices import Devices
from csi_lvm_iscsi.initiator.maps import Maps
from csi_lvm_iscsi.initiator.node_records import NodeRecords
from csi_lvm_iscsi.initiator.path_upkeep import PathUpkeep
from csi_lvm_iscsi.initiator.sessions import Sessions
from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.model.errors import Unavailable
from tests.unit.node.multipath_host import MultipathHost, look, looked, stage
from tests.unit.node.record import OTHER_NONCE, VOLUME


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
        assert {entry["error"] for entry in logs} == {"[Errno 5] Input/output error"}
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


async def test_a_login_that_hangs_holds_up_no_other_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = MultipathHost(tmp_path)
    await stage(host)
    stays, lost = host.portals
    host.lose_session(lost)
    answer = asyncio.Event()
    logins = []

    async def hang(*arguments: object) -> None:
        logins.append(arguments)
        await answer.wait()
        raise Unavailable("no login")

    monkeypatch.setattr(Sessions, "login", hang)
    monkeypatch.setattr(path_upkeep, "_COMPLETION_SECONDS", 0)
    upkeep = host.flows().path_upkeep
    async with host.running(), asyncio.TaskGroup() as looks:
        upkeep.look(looks)
        await until(lambda: logins, 10, "it does not log in")
        host.mapper.fail(host.number(stays))
        upkeep.look(looks)
        await until(lambda: "A" in host.mapper.states(), 10, "the path is not reinstated")
        assert len(logins) == 1
        answer.set()


async def test_a_login_that_fails_is_tried_again_ever_more_seldom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = MultipathHost(tmp_path)
    await stage(host)
    host.lose_session(host.portals[1])
    upkeep = host.flows().path_upkeep

    async def refuse(*_: object) -> None:
        raise Unavailable("no login")

    async def pause() -> float:
        upkeep._next_completion.clear()
        before = asyncio.get_running_loop().time()
        await looked(upkeep)
        (due,) = upkeep._next_completion.values()
        return due - before

    async with host.running():
        with monkeypatch.context() as patched:
            patched.setattr(Sessions, "login", refuse)
            pauses = [await pause() for _ in range(7)]
        assert [int(each // 20) for each in pauses[:3]] == [1, 2, 4]
        assert 300 <= pauses[-1] < 320
        for _ in range(2):
            assert 10 <= await pause() < 20
    assert host.mapper.states() == ["A", "A"]


async def test_a_volume_that_was_unstaged_meanwhile_is_not_logged_in_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = MultipathHost(tmp_path)
    await stage(host)
    host.lose_session(host.portals[1])
    flows = host.flows()

    async def answers_late(_: str) -> bool:
        await flows.staging.unstage(VOLUME, host.staging)
        host.commands.clear()
        return True

    monkeypatch.setattr(host, "answers", answers_late)
    await look(host)
    assert not host.commands
    assert not host.state()["sessions"]


async def test_a_map_that_was_fenced_meanwhile_does_not_wait_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = MultipathHost(tmp_path)
    await stage(host)
    host.mapper.open_all()
    host.mapper.message(host.all["map"], "fail_if_no_path")
    flows = host.flows()
    reinstate = PathUpkeep._reinstate

    async def fenced_then(upkeep: PathUpkeep, *arguments: Any) -> None:  # noqa: ANN401
        await flows.expansion._attachments.retire_stale(host.published(OTHER_NONCE))
        await reinstate(upkeep, *arguments)

    monkeypatch.setattr(PathUpkeep, "_reinstate", fenced_then)
    await look(host)
    assert host.mapper.queueing() == [False]


async def test_a_map_that_hangs_is_not_looked_at_again_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = MultipathHost(tmp_path)
    await stage(host)
    answer = asyncio.Event()
    asked = []

    async def hang(*arguments: object) -> bool:
        asked.append(arguments)
        return await answer.wait()

    monkeypatch.setattr(Maps, "is_queueing", hang)
    upkeep = host.flows().path_upkeep
    async with asyncio.TaskGroup() as looks:
        upkeep.look(looks)
        await until(lambda: asked, 10, "it does not look")
        upkeep.look(looks)
        await asyncio.sleep(0)
        answer.set()
    assert len(asked) == 1
    await looked(upkeep)
    assert len(asked) == 2


async def test_it_goes_on_until_it_is_told_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(path_upkeep, "_INTERVAL_SECONDS", 0.001)
    host = MultipathHost(tmp_path)
    await stage(host)
    running = asyncio.create_task(host.flows().path_upkeep.run())
    for portal in host.portals:
        host.mapper.fail(host.number(portal))
        await until(lambda: host.mapper.states() == ["A", "A"], 10, "no path is taken back")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
