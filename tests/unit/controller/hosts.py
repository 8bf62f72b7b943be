"""Storage hosts as the controller sees them, in place of the network: each has room for so much."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.model.errors import NotFound, OutOfSpace, Unavailable
from csi_lvm_iscsi.model.publications import Publication
from csi_lvm_iscsi.model.volumes import Pool, Volume
from csi_lvm_iscsi.storage_client.host import HostEntry

GIB = 1 << 30


def pool(group: str = "vg0", thin_pool: str = "pool", *, size: int = 10 * GIB) -> Pool:
    return Pool(
        volume_group=group,
        volume_group_uuid="",
        thin_pool=thin_pool,
        size_bytes=size,
        free_bytes=size,
        provisioned_bytes=0,
        available_bytes=size,
        maximum_volume_bytes=size,
    )


class Host:
    """A storage host that keeps its volumes in memory."""

    def __init__(self, name: str, *pools: Pool, zone: str = "", silent: bool = False) -> None:
        self.pools_given = tuple(
            replace(each, volume_group_uuid=f"{name}-{each.volume_group}") for each in pools
        )
        uuids = tuple(dict.fromkeys(each.volume_group_uuid for each in self.pools_given))
        self.entry = HostEntry(name, "", uuids, zone)
        self.silent = silent
        self.made: dict[str, Volume] = {}

    def id_of(self, name: str) -> list[str]:
        return [names.volume_id(uuid, name) for uuid in self.entry.volume_group_uuids]

    async def pools(self) -> list[Pool]:
        await self._answers()
        return [self._now(each) for each in self.pools_given]

    async def get(self, volume_id: str, *, patient: bool = False) -> Volume:
        await self._answers()
        if volume_id not in self.made:
            raise NotFound("none")
        return self.made[volume_id]

    async def create(
        self,
        name: str,
        required: int,
        limit: int,
        *,
        pool: Pool,
        origin: Mapping[str, str],
        source_id: str = "",
        source: Publication | None = None,
    ) -> Volume:
        await self._answers()
        if required > self._now(pool).available_bytes:
            raise OutOfSpace(f"{self.entry.name} is full.")
        volume_id = names.volume_id(pool.volume_group_uuid, name)
        volume = Volume(volume_id, name, required, (), pool.volume_group, pool.thin_pool)
        self.made[volume_id] = volume
        return volume

    def _now(self, given: Pool) -> Pool:
        taken = sum(
            each.size_bytes
            for each in self.made.values()
            if (each.volume_group, each.thin_pool) == (given.volume_group, given.thin_pool)
        )
        available = given.size_bytes - taken
        return replace(given, available_bytes=available)

    async def _answers(self) -> None:
        await asyncio.sleep(0)
        if self.silent:
            raise Unavailable(f"{self.entry.name} is silent.")


class Inventory:
    """The inventory, of these hosts."""

    def __init__(self, *hosts: Host) -> None:
        self.hosts = list(hosts)

    @property
    def has_zones(self) -> bool:
        return any(host.entry.zone for host in self.hosts)

    def owner(self, volume_id: str) -> Host | None:
        return next((host for host in self.hosts if volume_id in host.made), None)
