"""What a storage host tells of itself: all of it from memory."""

from __future__ import annotations

import ipaddress
from types import SimpleNamespace
from typing import Any

from csi_lvm_iscsi.model.host_status import VolumeGroupSpace
from csi_lvm_iscsi.rpc import messages
from csi_lvm_iscsi.storage.metrics import UpkeepState
from csi_lvm_iscsi.storage.pools import Limits, Place, Pools
from csi_lvm_iscsi.storage.portals import Portals
from csi_lvm_iscsi.storage.status import status_of
from tests.unit.storage.groups import GIB, UUID, catalog, group, thin_pool, volume

NETWORK = ipaddress.ip_network("192.0.2.0/24")


async def parts() -> Any:  # noqa: ANN401
    known = await catalog(
        group(volume("a"), volume("b", thin_pool="pool"), free=9 * GIB, pool=thin_pool(data=95))
    )
    pools = Pools(known, [Place("vg0", "pool"), Place("vg0", "")], Limits())
    publications = SimpleNamespace(published=lambda: {"a"})
    return SimpleNamespace(catalog=known, pools=pools, publications=publications)


def portals(*addresses: str) -> Portals:
    made = Portals([NETWORK], lambda: [ipaddress.ip_address(each) for each in addresses])
    made.refresh()
    return made


async def test_all_of_it_comes_over_the_wire() -> None:
    upkeep = UpkeepState(tgtd_runs=True)
    told = status_of("storage-1", await parts(), portals("192.0.2.7"), upkeep)
    assert messages.status_of(messages.status_message(told)) == told
    assert told.volume_groups == (VolumeGroupSpace("vg0", UUID, 20 * GIB, 9 * GIB),)
    assert [(each.name, bool(each.stopped)) for each in told.pools] == [
        ("vg0/pool", True),
        ("vg0", False),
    ]
    assert told.portals == ("192.0.2.7:3260",)
    assert (told.volumes, told.published_volumes, told.problems) == (2, 1, ())


async def test_problems_are_told_in_sentences() -> None:
    told = status_of("storage-1", await parts(), portals(), UpkeepState(broken=2))
    tgtd, broken, none = told.problems
    assert tgtd.startswith("tgtd does not run")
    assert broken.startswith("2 published volumes")
    assert "--portal-network" in none
