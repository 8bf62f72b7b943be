"""Volumes that are copied from another storage host, where something comes in between."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from csi_lvm_iscsi.controller.volumes import Volumes
from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.model.errors import (
    DriverError,
    FailedPrecondition,
    OutOfSpace,
    Unavailable,
)
from csi_lvm_iscsi.model.parameters import Parameters
from csi_lvm_iscsi.model.publications import Publication
from csi_lvm_iscsi.model.volumes import Pool, Snapshot, Volume
from tests.unit.controller.hosts import GIB, Host, Inventory, pool

THIN = Parameters.parse({})


class Copier(Host):
    """A storage host that makes volumes of the sources of others."""

    def __init__(self, name: str, fails: DriverError | None = None) -> None:
        super().__init__(name, pool())
        self.fails = fails
        """What a copy ends with."""

    async def volumes(self) -> list[Volume]:
        return list(self.made.values())

    async def create(
        self,
        name: str,
        required: int,
        limit: int,
        *,
        pool: Pool,
        **more: Any,  # noqa: ANN401
    ) -> Volume:
        volume_id = names.volume_id(pool.volume_group_uuid, name)
        if volume_id not in self.made:
            made = await super().create(name, required, limit, pool=pool, origin=more["origin"])
            self.made[volume_id] = replace(made, copying=True, source_id=more["source_id"])
        if "source" in more and self.fails:
            raise self.fails
        if "source" in more:
            self.made[volume_id] = replace(self.made[volume_id], copying=False)
        return self.made[volume_id]

    async def delete(self, volume_id: str, *, source_taken_back: bool = False) -> tuple[str, bool]:
        volume = self.made[volume_id]
        if not volume.copying or source_taken_back:
            del self.made[volume_id]
        return volume.source_id, volume.copying and not source_taken_back


class Lender(Host):
    """The storage host of the source."""

    def __init__(self, fails: DriverError | None = None) -> None:
        super().__init__("lender")
        self.source = Volume(names.volume_id("lender-vg0", "data"), "data", GIB)
        self.made = {self.source.id: self.source}
        self.fails = fails
        """What a snapshot of the source ends with."""

        self.lent: set[tuple[str, str]] = set()

    async def create_snapshot(
        self, name: str, volume_id: str, *, internal: bool = False
    ) -> Snapshot:
        if self.fails:
            raise self.fails
        return Snapshot(names.snapshot_id("lender-vg0", name), name, volume_id, GIB, 0)

    async def publish(
        self, volume_id: str, node_id: str, *, read_only: bool, shared: bool
    ) -> Publication:
        self.lent.add((volume_id, node_id))
        return Publication(volume_id, node_id, "iqn", ("p",), 1, "serial", GIB, "nonce", "k1")

    async def unpublish(self, volume_id: str, node_id: str) -> None:
        self.lent = {each for each in self.lent if each[0] != volume_id}

    async def delete_snapshot(self, snapshot_id: str) -> None:
        assert snapshot_id not in {lent for lent, _ in self.lent}, "it is still lent"


class Cluster(Inventory):
    """The inventory, of these hosts."""

    def owner(self, volume_id: str) -> Host | None:
        if volume_id.startswith(("copy", "snapshot")):
            return self.hosts[0]
        return super().owner(volume_id)

    def owner_or_refuse(self, stored_id: str) -> Host:
        found = self.owner(stored_id)
        assert found is not None
        return found


async def create(*hosts: Host) -> Volume:
    volumes = Volumes(Cluster(*hosts))  # type: ignore[arg-type]
    lender = hosts[0]
    assert isinstance(lender, Lender)
    return await volumes.create("copy-1", GIB, 0, THIN, source_id=lender.source.id)


async def test_a_source_that_cannot_be_lent_leaves_nothing_on_any_host() -> None:
    lender = Lender(OutOfSpace("Nothing is made in thin pool vg0/pool."))
    hosts = (lender, Copier("a"), Copier("b"))
    with pytest.raises(FailedPrecondition, match="on lender cannot be copied from: Nothing is"):
        await create(*hosts)
    assert [host.made for host in hosts[1:]] == [{}, {}]


async def test_a_copy_that_fails_is_gone_on_with() -> None:
    """After another error a sidecar whose claim is deleted meanwhile would not come again."""
    lender, copier = Lender(), Copier("a", FailedPrecondition("There is no CHAP key."))
    with pytest.raises(Unavailable, match=r"is not copied yet: There is no CHAP key\."):
        await create(lender, copier)
    assert len(lender.lent) == 1
    copier.fails = None
    assert not (await create(lender, copier)).copying
    assert lender.lent == set()


@pytest.mark.parametrize("is_finished", [True, False])
async def test_one_that_was_begun_twice_stays_once(*, is_finished: bool) -> None:
    """The host of the first was silent for a while."""
    lender, back, other = Lender(), Copier("a", Unavailable("It copies.")), Copier("b")
    with pytest.raises(Unavailable):
        await create(lender, back)
    back.fails = None
    other.fails = None if is_finished else Unavailable("It copies.")
    back.silent = True
    if is_finished:
        await create(lender, other)
    else:
        with pytest.raises(Unavailable):
            await create(lender, other)
    back.silent = False
    other.fails = None
    made = await create(lender, back, other)
    assert (made.copying, lender.lent) == (False, set())
    assert sorted(len(host.made) for host in (back, other)) == [0, 1]
    assert (made.id in other.made) == is_finished


async def test_what_was_begun_on_a_host_that_came_back_late_goes_with_the_volume() -> None:
    """It was silent until the volume was finished elsewhere, and nobody asked for that again."""
    lender, late, other = Lender(), Copier("a", Unavailable("It copies.")), Copier("b")
    with pytest.raises(Unavailable):
        await create(lender, late)
    late.silent = True
    made = await create(lender, other)
    late.silent = False
    assert len(late.made) == len(lender.lent) == 1
    await Volumes(Cluster(lender, late, other)).delete(made.id)  # type: ignore[arg-type]
    assert (late.made, other.made, lender.lent) == ({}, {}, set())
