"""What a storage host promises: never more than it may, and nothing once a threshold is passed."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csi_lvm_iscsi.model.errors import NotFound, OutOfRange, OutOfSpace
from csi_lvm_iscsi.model.volumes import Pool
from csi_lvm_iscsi.storage.pools import Limits, Place, Pools
from csi_lvm_iscsi.storage.report import LogicalVolume
from csi_lvm_iscsi.storage.snapshots import Snapshots
from tests.unit.storage.groups import GIB, MIB, catalog, group, snapshot, thin_pool, volume

THIN, THICK = Place("vg0", "pool"), Place("vg0", "")
SIZES = st.integers(1, 40).map(lambda gib: gib * GIB)


def of(pools: Pools, place: Place) -> Pool:
    return next(each for each in pools.all() if each.thin_pool == place.thin_pool)


async def test_a_thin_pool_promises_so_many_times_its_size() -> None:
    ours = volume("a", 3 * GIB, thin_pool="pool")
    others = LogicalVolume("cinder", 5 * GIB, (), "pool")
    known = await catalog(group(ours, others, snapshot("s", ours), volume("thick")))
    pool = of(Pools(known, [THIN], Limits(over_provision=2)), THIN)
    assert pool.provisioned_bytes == 8 * GIB
    assert pool.available_bytes == 12 * GIB
    assert pool.maximum_volume_bytes == 10 * GIB, "one volume is not larger than its pool"


async def test_thick_volumes_have_the_free_extents_and_tell_what_is_being_wiped() -> None:
    waste = volume("b", 2 * GIB, name="wipe-0.b")
    known = await catalog(group(volume("a"), waste, LogicalVolume("root", GIB, ()), free=3 * GIB))
    pools = Pools(known, [THICK], Limits())
    pool = of(pools, THICK)
    assert (pool.size_bytes, pool.provisioned_bytes) == (6 * GIB, GIB)
    assert (pool.available_bytes, pool.maximum_volume_bytes) == (3 * GIB, 3 * GIB)
    assert pool.reclaiming_bytes == 2 * GIB
    with (
        pytest.raises(OutOfSpace, match=r"3 GiB are left .* 2 GiB of deleted volumes are being"),
        pools.room(THICK, "c", 4 * GIB),
    ):
        pass


async def test_what_can_never_be() -> None:
    pools = Pools(await catalog(group()), [THIN], Limits())
    with (
        pytest.raises(OutOfRange, match="larger than all of vg0/pool"),
        pools.room(THIN, "a", 11 * GIB),
    ):
        pass
    with (
        pytest.raises(NotFound, match="makes no volumes in vg0: it serves vg0/pool"),
        pools.room(THICK, "a", GIB),
    ):
        pass


@pytest.mark.parametrize(
    ("data", "metadata", "metadata_bytes", "told"),
    [
        (90, 0, 40 * MIB, r"90\.0 % of its data are used, and from 90 % on .* --size \+SIZE"),
        (0, 90, 400 * MIB, r"90\.0 % of its metadata are used, and from 90 % on .*poolmetadata"),
        # Where lvm itself makes nothing: 4 MiB, or a quarter of small metadata.
        (0, 80, 20 * MIB, r"80\.0 % of its metadata are used, and from 80 % on"),
        (0, 75, 4 * MIB, r"75\.0 % of its metadata are used, and from 75 % on"),
    ],
)
async def test_a_threshold_stops_all_that_takes_more(
    data: float, metadata: float, metadata_bytes: int, told: str
) -> None:
    full = thin_pool(data=data, metadata=metadata, metadata_bytes=metadata_bytes)
    ours = volume("a", GIB, thin_pool="pool")
    known = await catalog(group(ours, pool=full, free=GIB))
    pools = Pools(known, [THIN], Limits())
    pool = of(pools, THIN)
    assert (pool.available_bytes, pool.maximum_volume_bytes) == (0, 0)
    assert pool.stopped.endswith("vg0 has 1 GiB free.")
    for name in ("new", ours.name):
        with pytest.raises(OutOfSpace, match=told), pools.room(THIN, name, 2 * GIB):
            pass
    snapshots = Snapshots(known, pools, lambda: 0, lambda: None)
    with pytest.raises(OutOfSpace, match=told):
        await snapshots.ensure("s", known.volumes()[0].id)


@pytest.mark.parametrize(("data", "metadata"), [(89.9, 0), (0, 89.9)])
async def test_below_the_thresholds_there_is_room(data: float, metadata: float) -> None:
    nearly = thin_pool(data=data, metadata=metadata, metadata_bytes=400 * MIB)
    pool = of(Pools(await catalog(group(pool=nearly)), [THIN], Limits()), THIN)
    assert not pool.stopped
    assert pool.available_bytes == 100 * GIB


@given(
    asked=st.lists(st.tuples(SIZES, st.sampled_from([THIN, THICK])), max_size=12),
    ratio=st.floats(0.5, 20),
    free=st.integers(0, 64).map(lambda gib: gib * GIB),
)
async def test_calls_at_once_are_never_promised_more_than_there_is(
    asked: list[tuple[int, Place]], ratio: float, free: int
) -> None:
    known = await catalog(group(free=free))
    pools = Pools(known, [THIN, THICK], Limits(over_provision=ratio))
    promised = {THIN: 0, THICK: 0}
    with contextlib.ExitStack() as calls:
        for number, (size, place) in enumerate(asked):
            before = of(pools, place)
            try:
                calls.enter_context(pools.room(place, f"v{number}", size))
            except (OutOfRange, OutOfSpace):
                assert size > before.maximum_volume_bytes
                continue
            promised[place] += size
            if number % 2:  # this one is made already: it does not count twice
                known.put("vg0", volume("x", size, name=f"v{number}", thin_pool=place.thin_pool))
            assert of(pools, place).available_bytes == before.available_bytes - size
        assert promised[THIN] <= 10 * GIB * ratio
        assert promised[THICK] <= free
        assert all(each.available_bytes >= 0 for each in pools.all())


async def test_a_volume_that_grows_needs_room_for_the_rest_only() -> None:
    ours = volume("a", 8 * GIB, thin_pool="pool")
    pools = Pools(await catalog(group(ours)), [THIN], Limits(over_provision=1))
    with pools.room(THIN, ours.name, 10 * GIB):
        assert of(pools, THIN).available_bytes == 0
    assert of(pools, THIN).available_bytes == 2 * GIB
