"""What the controller does with volumes, over the storage hosts. Stateless: two may run at once."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import structlog

from csi_lvm_iscsi.controller.placement import free_order
from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.model.errors import (
    DriverError,
    NotFound,
    OutOfRange,
    OutOfSpace,
    Unavailable,
)
from csi_lvm_iscsi.model.in_flight import InFlight
from csi_lvm_iscsi.model.parameters import Parameters
from csi_lvm_iscsi.model.publications import Publication
from csi_lvm_iscsi.model.volumes import Pool, Volume
from csi_lvm_iscsi.storage_client.host import StorageHost
from csi_lvm_iscsi.storage_client.inventory import Inventory

_log = structlog.get_logger()
T = TypeVar("T")
Place = tuple[StorageHost, Pool]


class Volumes:
    """The volumes of all storage hosts."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        # The storage hosts hold volumes; names are held here, as a name has no host yet.
        self._names = InFlight()

    async def create(self, name: str, required: int, limit: int, parameters: Parameters) -> Volume:
        """Make the volume, or answer with the one that has the name on any host that answers.

        The hosts are tried in order of free space: others place volumes at the same time, so the
        one that looked best may be full. Raises OutOfSpace, OutOfRange or Unavailable where none
        can take it, saying why for each.
        """
        names.check_volume_name(name)
        with self._names.hold(name, "CreateVolume"):
            places = await self._place_of(name) or await self._candidates(parameters)
            refusals: list[DriverError] = []
            for host, pool in places:
                try:
                    return await host.create(
                        name, required, limit, pool=pool, origin=parameters.origin
                    )
                except (OutOfSpace, OutOfRange) as error:
                    refusals.append(error)
            raise _why_none(refusals)

    async def delete(self, volume_id: str) -> None:
        """Remove the volume; an unknown one is gone already. Raises Unavailable only where the
        host that would own it does not answer."""
        host = self._inventory.owner(volume_id)
        if host is None:
            _log.warning("no storage host has its volume group: taken as deleted", id=volume_id)
            return
        await host.delete(volume_id)

    async def get(self, volume_id: str) -> Volume:
        """Find the volume. Raises NotFound, or Unavailable where its host does not answer."""
        return await self._owner(volume_id).get(volume_id)

    async def all(self) -> list[Volume]:
        """All volumes of all hosts. Raises Unavailable where one does not answer: a list without
        its volumes would read as if they were detached."""
        lists = await asyncio.gather(*(host.volumes() for host in self._inventory.hosts))
        return sorted((each for volumes in lists for each in volumes), key=lambda each: each.id)

    async def pools(self, parameters: Parameters) -> list[Pool]:
        """The pools of the hosts that answer, of this kind. Raises Unavailable where none does."""
        return [pool for _, pool in await self._candidates(parameters)]

    async def expand(self, volume_id: str, required: int, limit: int) -> Volume:
        """Grow the volume. Raises NotFound, OutOfRange where it cannot have such a size."""
        return await self._owner(volume_id).expand(volume_id, required, limit)

    async def publish(
        self, volume_id: str, node_id: str, *, read_only: bool, shared: bool
    ) -> Publication:
        """Export the volume to the node. Raises NotFound for an unknown volume or node."""
        host = self._owner(volume_id)
        if not self._inventory.has_node(node_id):
            raise NotFound(
                f"There is no node {node_id}: see that the node plugin runs there and that the "
                "controller's inventory lists it."
            )
        return await host.publish(volume_id, node_id, read_only=read_only, shared=shared)

    async def unpublish(self, volume_id: str, node_id: str) -> None:
        """Fence the node (an empty name: all) off the volume; an unknown volume or node is fine."""
        host = self._inventory.owner(volume_id)
        if host is not None:
            await host.unpublish(volume_id, node_id)

    def _owner(self, volume_id: str) -> StorageHost:
        host = self._inventory.owner(volume_id)
        if host is None:
            raise NotFound(
                f"There is no volume {volume_id}: no storage host of the inventory has its volume "
                "group."
            )
        return host

    async def _place_of(self, name: str) -> list[Place]:
        """Where there is a volume of this name already; empty where there is none.

        A host that does not answer may be starting again, with a volume of this name that an
        earlier call made: it is waited for. One that stays silent is passed over: a volume it has
        keeps its id, and shows as a duplicate when the host is back.
        """

        async def found(host: StorageHost) -> list[Volume]:
            volumes = []
            for volume_id in host.id_of(name):
                with contextlib.suppress(NotFound):
                    volumes.append(await host.get(volume_id, patient=True))
            return volumes

        for host, answer in await self._ask_all(found):
            if isinstance(answer, DriverError):
                if not isinstance(answer, Unavailable):
                    raise answer
            elif answer:
                pools = await host.pools()
                return [(host, pool) for pool in pools if _is_of(answer[0], pool)]
        return []

    async def _candidates(self, parameters: Parameters) -> list[Place]:
        """The pools of the hosts that answer, the one with most space first."""
        answers = await self._ask_all(lambda host: host.pools())
        places = [
            (host, pool)
            for host, answer in answers
            if not isinstance(answer, DriverError)
            for pool in answer
            if bool(pool.thin_pool) == (parameters.provisioner == "thin")
        ]
        if all(isinstance(answer, DriverError) for _, answer in answers):
            reasons = " ".join(str(answer) for _, answer in answers)
            raise Unavailable(f"No storage host answers: {reasons}")
        return sorted(places, key=lambda place: free_order(place[0].entry.name, place[1]))

    async def _ask_all(
        self, question: Callable[[StorageHost], Awaitable[T]]
    ) -> list[tuple[StorageHost, T | DriverError]]:
        """Ask all hosts at once; an answer can be the error that came."""

        async def ask(host: StorageHost) -> T | DriverError:
            try:
                return await question(host)
            except DriverError as error:
                return error

        answers = await asyncio.gather(*map(ask, self._inventory.hosts))
        return list(zip(self._inventory.hosts, answers, strict=True))


def _is_of(volume: Volume, pool: Pool) -> bool:
    return (volume.volume_group, volume.thin_pool) == (pool.volume_group, pool.thin_pool)


def _why_none(refusals: Sequence[DriverError]) -> DriverError:
    """One error for all hosts; "no space now" outweighs "never", as it may pass."""
    text = " ".join(str(refusal) for refusal in refusals)
    if any(isinstance(refusal, OutOfSpace) for refusal in refusals):
        return OutOfSpace(text)
    return OutOfRange(text)
