"""What paths may do to a map that is in use, over what was recorded in the lab."""

from pathlib import Path

import pytest

from csi_lvm_iscsi.initiator.maps import Maps
from csi_lvm_iscsi.model.errors import FailedPrecondition
from tests.unit.node import record
from tests.unit.node.multipath_host import MultipathHost, look, stage
from tests.unit.node.record import SIZE, VOLUME


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
