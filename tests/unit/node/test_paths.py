"""What paths may do to a map that is in use, over what was recorded in the lab."""

import asyncio
from pathlib import Path

import pytest

from csi_lvm_iscsi.initiator.devices import Devices, ScsiDisk
from csi_lvm_iscsi.initiator.maps import Maps
from csi_lvm_iscsi.model import chap
from csi_lvm_iscsi.model.errors import FailedPrecondition, Unavailable
from tests.unit.node import record
from tests.unit.node.multipath_host import MultipathHost, look, stage, unstage
from tests.unit.node.record import OTHER_NONCE, SIZE, VOLUME


async def grown_without(host: MultipathHost, portal: str) -> None:
    """Stage, and grow while one path is cut."""
    await stage(host)
    host.cut(portal)
    host.grow(*(each for each in host.portals if each != portal))
    async with host.running():
        await host.flows().expansion._attachments.ensure_size(VOLUME, 2 * SIZE)


async def test_a_path_that_did_not_grow_does_not_shrink_a_map(tmp_path: Path) -> None:
    host = MultipathHost(tmp_path)
    grown, smaller = host.portals
    await grown_without(host, smaller)
    host.heal(smaller)
    await stage(host)
    assert host.mapper.sizes() == [2 * SIZE // 512]
    assert host.number(grown) in host.mapper.table(host.all["map"])
    assert host.number(smaller) not in host.mapper.table(host.all["map"])


async def test_a_path_that_is_back_does_not_shrink_a_map_that_grew_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = MultipathHost(tmp_path)
    stays, lost = host.portals
    await stage(host)
    host.lose_session(lost)
    flows = host.flows()

    async def answers_late(_: str) -> bool:
        host.grow(stays)
        await flows.expansion._attachments.ensure_size(VOLUME, 2 * SIZE)
        return True

    monkeypatch.setattr(host, "answers", answers_late)
    await look(host)
    assert host.mapper.sizes() == [2 * SIZE // 512]
    assert host.number(lost) not in host.mapper.table(host.all["map"])


async def test_a_map_is_never_made_smaller(tmp_path: Path) -> None:
    host = MultipathHost(tmp_path)
    await grown_without(host, host.portals[1])
    maps = Maps(host.paths.sys, host.paths.dev, host.mapper)
    with pytest.raises(FailedPrecondition, match="has 640 MiB, one of its paths 320 MiB"):
        await maps.ensure(VOLUME, record.NONCE, [], SIZE)
    assert host.mapper.sizes() == [2 * SIZE // 512]


async def find(host: MultipathHost) -> str:
    async with host.running():
        device = await host.flows().expansion._attachments.find_disk(host.published())
    return device.name


async def test_a_disk_that_is_not_in_the_map_is_not_asked(tmp_path: Path) -> None:
    host = MultipathHost(tmp_path)
    host.path[host.portals[0]]["vpd_pg80"] = b"another".hex().rjust(22, "0")
    await stage(host)
    assert await find(host) == "dm-0"


async def test_a_disk_that_takes_no_io_does_not_hold_up_growth(tmp_path: Path) -> None:
    host = MultipathHost(tmp_path)
    await stage(host)
    host.set_state(host.portals[1], "LOGGED_IN", "offline")
    host.grow(host.portals[0])
    async with host.running():
        await host.flows().expansion._attachments.ensure_size(VOLUME, 2 * SIZE)
    assert host.mapper.sizes() == [2 * SIZE // 512]


async def test_a_disk_of_the_map_that_became_another_is_refused(tmp_path: Path) -> None:
    host = MultipathHost(tmp_path)
    await stage(host)
    host.select(host.portals[1])
    host.swap_disk()
    with pytest.raises(FailedPrecondition, match="is another disk"):
        await find(host)


async def test_a_disk_that_does_not_answer_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = MultipathHost(tmp_path)
    await stage(host)
    refresh = Devices.refresh

    async def hang(devices: Devices, disk: ScsiDisk) -> None:
        if disk.number in hanging:
            await asyncio.Event().wait()
        await refresh(devices, disk)

    monkeypatch.setattr(Devices, "refresh", hang)
    hanging = {host.number(host.portals[0])}
    async with asyncio.timeout(20):
        assert await find(host) == "dm-0"


async def test_no_disk_takes_io(tmp_path: Path) -> None:
    host = MultipathHost(tmp_path)
    await stage(host)
    for portal in host.portals:
        host.set_state(portal, "LOGGED_IN", "offline")
    with pytest.raises(Unavailable, match=r"No path of volume .* takes I/O"):
        await find(host)


async def test_a_stale_map_that_is_in_use_does_not_hold_up_unstage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("csi_lvm_iscsi.initiator.maps._REMOVE_SECONDS", 0.05)
    host = MultipathHost(tmp_path)
    await stage(host)
    host.mapper.open_all()
    host.user = chap.user(VOLUME, OTHER_NONCE)
    await stage(host, OTHER_NONCE)
    await unstage(host)
    assert host.state()["sessions"] == []
    assert host.mapper.queueing() == [False]
    assert ("dm", "remove", "now") in host.commands


async def test_growth_without_a_size_is_growth_of_the_map_too(tmp_path: Path) -> None:
    host = MultipathHost(tmp_path)
    await stage(host)
    host.grow(*host.portals)
    async with host.running():
        size = await host.flows().expansion.expand(VOLUME, host.staging, 0, 0)
    assert size == 2 * SIZE
    assert host.mapper.sizes() == [2 * SIZE // 512]
