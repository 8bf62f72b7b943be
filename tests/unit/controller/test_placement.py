"""Where new volumes go."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csi_lvm_iscsi.controller.placement import ANYWHERE, Reach, Underway
from csi_lvm_iscsi.controller.volumes import Volumes
from csi_lvm_iscsi.model.errors import (
    AlreadyExists,
    InvalidArgument,
    OutOfSpace,
    Unavailable,
)
from csi_lvm_iscsi.model.parameters import Parameters
from csi_lvm_iscsi.model.volumes import Pool
from tests.unit.controller.hosts import GIB, Host, Inventory, pool

THIN = Parameters.parse({})


def measured(*, size: int, free: int, provisioned: int) -> Pool:
    return Pool(
        volume_group="vg0",
        volume_group_uuid="uuid",
        thin_pool="pool",
        size_bytes=size,
        free_bytes=free,
        provisioned_bytes=provisioned,
        available_bytes=size - provisioned,
        maximum_volume_bytes=size,
    )


def order(**pools: Pool) -> list[str]:
    return sorted(pools, key=lambda host: Underway().free_order(host, pools[host]))


def volumes(*hosts: Host) -> Volumes:
    return Volumes(Inventory(*hosts))  # type: ignore[arg-type]


async def create(
    among: Volumes, name: str = "a", size: int = GIB, reach: Reach = ANYWHERE, **parameters: str
) -> str:
    """The id of a volume made; with its parameters as in a StorageClass."""
    return (await among.create(name, size, 0, Parameters.parse(parameters), reach=reach)).id


def test_the_least_promised_comes_first() -> None:
    assert order(
        written=measured(size=100, free=10, provisioned=40),
        promised=measured(size=100, free=100, provisioned=80),
        over=measured(size=100, free=90, provisioned=150),
    ) == ["written", "promised", "over"]


def test_equal_promises_are_told_apart_by_what_is_written() -> None:
    full = measured(size=100, free=0, provisioned=50)
    empty = measured(size=100, free=100, provisioned=50)
    assert order(full=full, empty=empty) == ["empty", "full"]


def test_equals_come_in_the_order_of_their_names() -> None:
    same = measured(size=1, free=1, provisioned=0)
    assert order(b=same, a=same) == ["a", "b"]


async def test_many_at_once_are_spread_though_all_see_the_same_free_space() -> None:
    hosts = [Host("a", pool(size=100 * GIB)), Host("b", pool(size=100 * GIB))]
    among = volumes(*hosts)
    await asyncio.gather(*(create(among, f"v{number}") for number in range(50)))
    assert [len(host.made) for host in hosts] == [25, 25]


@given(rooms=st.lists(st.integers(0, 6), min_size=1, max_size=4), controllers=st.integers(1, 2))
async def test_while_there_is_room_anywhere_all_succeed(rooms: list[int], controllers: int) -> None:
    """Also of controllers that do not know of each other."""
    hosts = [Host(f"host-{n}", pool(size=room * GIB)) for n, room in enumerate(rooms)]
    among = [volumes(*hosts) for _ in range(controllers)]
    made = await asyncio.gather(
        *(create(among[number % controllers], f"v{number}") for number in range(sum(rooms)))
    )
    assert len(set(made)) == sum(rooms)
    assert [len(host.made) for host in hosts] == rooms
    with pytest.raises(OutOfSpace):
        await create(among[0], "one more")


async def test_an_error_tells_why_each_host_cannot_but_not_of_all_of_many() -> None:
    hosts = [Host(f"host-{number}", pool(size=number)) for number in range(6)]
    with pytest.raises(OutOfSpace) as refused:
        await create(volumes(*hosts[:2]), "large")
    assert str(refused.value) == "host-1: host-1 is full. host-0: host-0 is full."
    with pytest.raises(OutOfSpace) as refused:
        await create(volumes(*hosts), "large")
    assert str(refused.value) == (
        "host-5: host-5 is full. host-4: host-4 is full. host-3: host-3 is full. "
        "Nor can 3 other pools take it."
    )


async def test_parameters_restrict_the_place() -> None:
    one = Host("one", pool(), pool("vg1", "fast"), pool("vg1", ""))
    two = Host("two", pool(size=99 * GIB))
    among = volumes(one, two)
    await create(among, "host", storageHost="one")
    await create(among, "group", volumeGroup="vg1")
    await create(among, "pool", thinPool="fast")
    await create(among, "thick", provisioner="thick")
    places = {each.name: (each.volume_group, each.thin_pool) for each in one.made.values()}
    assert places == {
        "host": ("vg0", "pool"),
        "group": ("vg1", "fast"),
        "pool": ("vg1", "fast"),
        "thick": ("vg1", ""),
    }
    with pytest.raises(OutOfSpace, match="thick, storageHost two"):
        await create(among, "none", provisioner="thick", storageHost="two")
    with pytest.raises(InvalidArgument, match="storage hosts are one, two"):
        await create(among, "none", storageHost="three")


async def test_the_same_name_with_other_parameters_exists_already() -> None:
    among = volumes(Host("one", pool(), pool("vg0", "")), Host("two", pool(size=GIB)))
    made = await create(among)
    assert await create(among) == made
    assert await create(among, storageHost="one", volumeGroup="vg0", thinPool="pool") == made
    for key, text in {
        "storageHost": "two",
        "volumeGroup": "vg1",
        "thinPool": "other",
        "provisioner": "thick",
    }.items():
        with pytest.raises(AlreadyExists, match="exists in vg0/pool on one"):
            await among.create("a", GIB, 0, Parameters.parse({key: text}))


async def test_capacity_is_of_the_places_that_the_parameters_allow() -> None:
    among = volumes(Host("one", pool(size=GIB)), Host("two", pool(size=2 * GIB)))
    sizes = {
        "": Counter([GIB, 2 * GIB]),
        "one": Counter([GIB]),
        "three": Counter[int](),
    }
    for host, expected in sizes.items():
        parameters = Parameters.parse({"storageHost": host})
        assert Counter(each.size_bytes for each in await among.pools(parameters)) == expected


async def test_zones() -> None:
    a, b = Host("a-1", pool(size=9 * GIB), zone="a"), Host("b-1", pool(size=GIB), zone="b")
    among = volumes(a, b)
    await create(among, "anywhere")
    await create(among, "near", reach=Reach(preferred=("b",), requisite=("a", "b")))
    await create(among, "fallback", reach=Reach(preferred=("b", "a"), requisite=("a", "b")))
    assert [each.name for each in a.made.values()] == ["anywhere", "fallback"]
    assert [each.name for each in b.made.values()] == ["near"]
    with pytest.raises(OutOfSpace, match="b-1 is full"):
        await create(among, "elsewhere", reach=Reach(requisite=("b",)))
    with pytest.raises(OutOfSpace, match="No storage host in zone c or d"):
        await create(among, "impossible", reach=Reach(requisite=("c", "d")))
    with pytest.raises(AlreadyExists, match="exists in zone a"):
        await create(among, "anywhere", reach=Reach(requisite=("b",)))
    assert [each.size_bytes for each in await among.pools(THIN, Reach(requisite=("b",)))] == [GIB]


async def test_a_host_that_is_silent_is_passed_over_but_named_where_no_other_will_do() -> None:
    among = volumes(Host("one", pool()), Host("two", pool(), silent=True))
    await create(among)
    with pytest.raises(Unavailable, match="two is silent"):
        await create(among, "b", storageHost="two")
