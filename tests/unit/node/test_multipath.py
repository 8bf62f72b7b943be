"""Volumes with several portals: stage, unstage and upkeep, over what was recorded in the lab."""

import json
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from csi_lvm_iscsi.initiator.device_mapper import Control
from csi_lvm_iscsi.initiator.maps import Maps
from csi_lvm_iscsi.initiator.reach import answering
from csi_lvm_iscsi.model import chap, names
from csi_lvm_iscsi.model.errors import FailedPrecondition, Unavailable
from tests.unit.node import record
from tests.unit.node.host import Killed
from tests.unit.node.multipath_host import MultipathHost, look, looked, stage, unstage
from tests.unit.node.record import OTHER_NONCE, VOLUME

NOTHING = {
    "sessions": [],
    "disk": [False, False],
    "mounts": 0,
    "targets": [],
    "records": [],
    "maps": [],
}
STAGE = ["iscsiadm", "iscsiadm", "iscsiadm", "create", "load", "resume"]
UNSTAGE = ["remove", "iscsiadm", "iscsiadm", "iscsiadm"]


def actions(host: MultipathHost) -> list[str]:
    return [argv[1] if argv[0] == "dm" else argv[0] for argv in host.commands]


async def test_one_session_for_each_portal_and_one_map(tmp_path: Path) -> None:
    host = MultipathHost(tmp_path)
    await stage(host)
    assert actions(host) == STAGE
    assert host.mapper.states() == ["A", "A"]
    (text,) = host.state()["records"]
    assert json.loads(text)["device"] == "dm-0"
    await stage(host)
    assert actions(host) == STAGE
    host.commands.clear()
    await unstage(host)
    assert actions(host) == UNSTAGE
    assert host.state() == NOTHING
    await unstage(host)
    assert actions(host) == UNSTAGE


async def test_the_map_is_as_it_was_captured(tmp_path: Path) -> None:
    host = MultipathHost(tmp_path)
    await stage(host)
    (uuid,) = host.mapper.maps()
    assert uuid == host.all["map"]
    assert sorted(host.mapper.table(uuid).split()) == sorted(host.all["table"].split())
    assert sorted(host.mapper.status(uuid).split()) == sorted(host.all["status"].split())


async def test_a_record_for_each_portal(tmp_path: Path) -> None:
    host = MultipathHost(tmp_path)
    await stage(host)
    password = chap.password(record.KEY, VOLUME, record.NODE, record.NONCE)
    written = {
        path.name: path.read_text().replace(password, "{password}")
        for path in (host.paths.iscsi / "nodes" / names.target_iqn(VOLUME)).iterdir()
    }
    assert {name: sorted(text.splitlines()) for name, text in written.items()} == {
        name: sorted(text.splitlines()) for name, text in host.all["record"].items()
    }


@pytest.mark.parametrize("count", range(len(STAGE)))
async def test_stage_goes_on_where_it_was_killed(tmp_path: Path, count: int) -> None:
    host = MultipathHost(tmp_path)
    host.die_after = count
    with pytest.raises(Killed):
        await stage(host)
    host.die_after = None
    await stage(host)
    assert host.mapper.states() == ["A", "A"]
    assert host.state()["disk"] == [True, True]
    await unstage(host)
    assert host.state() == NOTHING


@pytest.mark.parametrize("count", range(len(STAGE)))
async def test_unstage_takes_away_half_a_stage(tmp_path: Path, count: int) -> None:
    host = MultipathHost(tmp_path)
    host.die_after = count
    with pytest.raises(Killed):
        await stage(host)
    host.die_after = None
    await unstage(host)
    assert host.state() == NOTHING


@pytest.mark.parametrize("count", range(len(UNSTAGE)))
async def test_unstage_goes_on_where_it_was_killed(tmp_path: Path, count: int) -> None:
    host = MultipathHost(tmp_path)
    await stage(host)
    host.die_after = len(host.commands) + count
    with pytest.raises(Killed):
        await unstage(host)
    host.die_after = None
    await unstage(host)
    assert host.state() == NOTHING


@pytest.mark.parametrize("dead", range(2))
async def test_a_portal_that_is_dead_is_added_when_it_is_back(tmp_path: Path, dead: int) -> None:
    host = MultipathHost(tmp_path)
    portal = host.portals[dead]
    host.dead_portals.add(portal)
    with capture_logs() as logs:
        await stage(host)
    assert [entry["portal"] for entry in logs if "portal" in entry] == [portal]
    assert host.mapper.states() == ["A"]
    await look(host)
    assert host.mapper.states() == ["A"]
    host.dead_portals.clear()
    await look(host)
    assert host.mapper.states() == ["A", "A"]
    await unstage(host)
    assert host.state() == NOTHING


async def test_nothing_is_done_where_all_is_well(tmp_path: Path) -> None:
    host = MultipathHost(tmp_path)
    await stage(host)
    host.commands.clear()
    await look(host)
    assert not host.commands


async def test_a_path_is_taken_back_by_a_role_that_was_restarted(tmp_path: Path) -> None:
    host = MultipathHost(tmp_path)
    await stage(host)
    host.cut(host.portals[1])
    host.commands.clear()
    await look(host)
    assert not host.commands
    host.heal(host.portals[1])
    await look(host)
    assert host.commands == [("dm", "message", f"reinstate_path {host.number(host.portals[1])}")]
    assert host.mapper.states() == ["A", "A"]


async def test_another_disk_behind_a_portal_is_not_taken(tmp_path: Path) -> None:
    host = MultipathHost(tmp_path)
    other = host.path[host.portals[0]]
    other["vpd_pg80"] = b"another".hex().rjust(22, "0")
    with capture_logs() as logs:
        await stage(host)
    assert any("serial number" in entry.get("error", "") for entry in logs)
    (table,) = [action[2] for action in host.commands if action[:2] == ("dm", "load")]
    assert host.number(host.portals[0]) not in table
    assert host.number(host.portals[1]) in table


async def test_a_path_that_became_another_disk_is_taken_out(tmp_path: Path) -> None:
    host = MultipathHost(tmp_path)
    await stage(host)
    host.select(host.portals[0])
    host.swap_disk()
    await stage(host)
    assert host.removed == ["offline"]
    assert host.mapper.states() == ["A"]
    assert host.number(host.portals[1]) in host.mapper.table(host.all["map"])


async def test_unstage_does_not_wait_for_a_path_that_is_cut(tmp_path: Path) -> None:
    host = MultipathHost(tmp_path)
    await stage(host)
    host.cut(host.portals[0])
    await unstage(host)
    assert host.state() == NOTHING
    assert not host.removed


async def test_a_map_in_use_is_not_unstaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("csi_lvm_iscsi.initiator.maps._REMOVE_SECONDS", 0.05)
    host = MultipathHost(tmp_path)
    await stage(host)
    host.mapper.open_all()
    with pytest.raises(Unavailable, match="something has it open"):
        await unstage(host)
    assert host.mapper.states() == ["A", "A"]
    assert len(host.state()["sessions"]) == 2


async def test_a_stale_map_fails_before_its_disks_go_and_is_left_to_its_users(
    tmp_path: Path,
) -> None:
    host = MultipathHost(tmp_path)
    await stage(host)
    host.mapper.open_all()
    host.commands.clear()
    host.user = chap.user(VOLUME, OTHER_NONCE)
    await stage(host, OTHER_NONCE)
    fail = ("dm", "message", "fail_if_no_path")
    logouts = [index for index, argv in enumerate(host.commands) if "--logout" in argv]
    assert host.commands[0] == fail
    assert len(logouts) == 2
    assert ("dm", "remove", "deferred") in host.commands
    assert host.mapper.queueing() == [False, True]


async def test_io_is_given_up_after_long_without_a_path_and_waits_again_with_one(
    tmp_path: Path,
) -> None:
    host = MultipathHost(tmp_path)
    await stage(host)
    flows = host.flows()
    upkeep = flows.path_upkeep
    upkeep.patience_seconds = 0
    for portal in host.portals:
        host.cut(portal)
    async with host.running():
        await looked(upkeep)
        assert host.mapper.queueing() == [True]
        await looked(upkeep)
        assert host.mapper.queueing() == [False]
        host.heal(host.portals[0])
        await looked(upkeep)
    assert host.mapper.queueing() == [True]
    assert sorted(host.mapper.states()) == ["A", "F"]


async def test_a_map_that_was_given_up_is_left_alone(tmp_path: Path) -> None:
    host = MultipathHost(tmp_path)
    await stage(host)
    for portal in host.portals:
        host.lose_session(portal)
    host.mapper.message(host.all["map"], "fail_if_no_path")
    host.commands.clear()
    await look(host)
    assert not host.commands


async def test_a_volume_that_has_grown(tmp_path: Path) -> None:
    host = MultipathHost(tmp_path)
    await stage(host)
    attachments = host.flows().expansion._attachments
    with pytest.raises(FailedPrecondition, match="left alone"):
        async with host.running():
            await attachments.ensure_size(VOLUME, 2 * record.SIZE)
    assert host.state()["disk"] == [True, True]
    host.grow(host.portals[0], host.portals[1])
    async with host.running():
        device = await attachments.ensure_size(VOLUME, 2 * record.SIZE)
    assert device.name == "dm-0"
    assert host.mapper.sizes() == [2 * record.SIZE // 512]
    assert host.mapper.states() == ["A", "A"]


async def test_a_cut_path_does_not_hold_up_growth(tmp_path: Path) -> None:
    host = MultipathHost(tmp_path)
    await stage(host)
    host.cut(host.portals[1])
    host.grow(host.portals[0])
    async with host.running():
        await host.flows().expansion._attachments.ensure_size(VOLUME, 2 * record.SIZE)
    assert host.mapper.states() == ["A"]
    assert host.mapper.sizes() == [2 * record.SIZE // 512]
    host.heal(host.portals[1])
    host.grow(host.portals[1])
    await look(host)
    assert host.mapper.states() == ["A", "A"]


async def test_no_portal_answers() -> None:
    async def dead(_: str) -> bool:
        return False

    with pytest.raises(Unavailable, match=r"None of the portals 192\.0\.2\.1:3260 answers"):
        await answering(dead, ["192.0.2.1:3260"], 0.01)
    assert await answering(dead, ["192.0.2.1:3260"], 0) == []


def test_a_host_without_device_mapper_has_no_maps(tmp_path: Path) -> None:
    assert Maps(tmp_path, tmp_path, Control(tmp_path / "control")).all() == ()


async def test_a_host_without_device_mapper_is_told_so(tmp_path: Path) -> None:
    maps = Maps(tmp_path, tmp_path, Control(tmp_path / "control"))
    with pytest.raises(FailedPrecondition, match="load the kernel module dm-mod"):
        await maps.ensure(VOLUME, record.NONCE, [], record.SIZE)
