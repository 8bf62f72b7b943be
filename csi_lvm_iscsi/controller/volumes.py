"""What the controller does with volumes, over the storage hosts. Stateless: two may run at once."""

import asyncio
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
from csi_lvm_iscsi.model.volumes import Capacity, Volume
from csi_lvm_iscsi.storage_client.host import StorageHost
from csi_lvm_iscsi.storage_client.inventory import Inventory

_log = structlog.get_logger()
T = TypeVar("T")


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
            host = await self._holder_of(name)
            hosts = [host] if host else await self._candidates()
            refusals: list[DriverError] = []
            for candidate in hosts:
                try:
                    return await candidate.create(name, required, limit, parameters.origin)
                except (OutOfSpace, OutOfRange, Unavailable) as error:
                    if host or not _can_try_next(error):
                        raise
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
        lists = await asyncio.gather(*(host.list() for host in self._inventory.hosts))
        return sorted((each for volumes in lists for each in volumes), key=lambda each: each.id)

    async def capacity(self) -> list[Capacity]:
        """The space of the hosts that answer. Raises Unavailable where none does."""
        return [capacity for _, capacity in await self._capacities()]

    async def publish(self, volume_id: str, node_id: str) -> Publication:
        """Export the volume to the node. Raises NotFound for an unknown volume or node."""
        host = self._owner(volume_id)
        if not self._inventory.has_node(node_id):
            raise NotFound(
                f"There is no node {node_id}: see that the node plugin runs there and that the "
                "controller's inventory lists it."
            )
        return await host.publish(volume_id, node_id)

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

    async def _holder_of(self, name: str) -> StorageHost | None:
        """The host that has a volume of this name already.

        A host that does not answer may be starting again, with a volume of this name that an
        earlier call made: it is waited for. One that stays silent is passed over: a volume it has
        keeps its id, and shows as a duplicate when the host is back.
        """

        async def found(host: StorageHost) -> bool:
            for volume_id in host.id_of(name):
                try:
                    await host.get(volume_id, patient=True)
                except NotFound:
                    continue
                return True
            return False

        answers = await self._ask_all(found)
        for _, answer in answers:
            if isinstance(answer, DriverError) and not isinstance(answer, Unavailable):
                raise answer
        return next((host for host, answer in answers if answer is True), None)

    async def _candidates(self) -> list[StorageHost]:
        """The hosts that answer, the one with most free space first."""
        capacities = await self._capacities()
        return [host for host, _ in sorted(capacities, key=lambda each: free_order(each[1]))]

    async def _capacities(self) -> list[tuple[StorageHost, Capacity]]:
        answers = await self._ask_all(lambda host: host.capacity())
        capacities = [
            (host, answer) for host, answer in answers if not isinstance(answer, DriverError)
        ]
        if not capacities:
            reasons = " ".join(str(answer) for _, answer in answers)
            raise Unavailable(f"No storage host answers: {reasons}")
        return capacities

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


def _can_try_next(error: DriverError) -> bool:
    """Whether another host may be asked: not after a host fell silent in the middle of a create,
    as it may have made the volume."""
    return isinstance(error, (OutOfSpace, OutOfRange))


def _why_none(refusals: Sequence[DriverError]) -> DriverError:
    """One error for all hosts; "no space now" outweighs "never", as it may pass."""
    text = " ".join(str(refusal) for refusal in refusals)
    if any(isinstance(refusal, OutOfSpace) for refusal in refusals):
        return OutOfSpace(text)
    return OutOfRange(text)
