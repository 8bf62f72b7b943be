"""What the controller does with volumes, over the storage hosts. Stateless: two may run at once."""

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from csi_lvm_iscsi.controller.placement import ANYWHERE, Reach, allows
from csi_lvm_iscsi.controller.places import Places, ask_all
from csi_lvm_iscsi.controller.sources import Source, Sources
from csi_lvm_iscsi.model import names, sizes
from csi_lvm_iscsi.model.errors import (
    Aborted,
    AlreadyExists,
    DriverError,
    FailedPrecondition,
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
from csi_lvm_iscsi.storage_client.membership import Membership

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A volume that is asked for. Sizes are bytes."""

    name: str
    required: int
    limit: int
    origin: Mapping[str, str]
    source_id: str


class Volumes:
    """The volumes of all storage hosts."""

    def __init__(self, membership: Membership) -> None:
        self._membership = membership
        self._sources = Sources(membership)
        # The storage hosts hold volumes; names are held here, as a name has no host yet.
        self._names = InFlight()
        self._places = Places(membership)

    async def create(
        self,
        name: str,
        required: int,
        limit: int,
        parameters: Parameters,
        *,
        source_id: str = "",
        reach: Reach = ANYWHERE,
    ) -> Volume:
        """Make the volume, or answer with the one that has the name on any host that answers.

        The pools are tried in order of free space: others place volumes at the same time, so the
        one that looked best may be full. One of a source is made beside it if it can be. Raises
        NotFound without the source, OutOfSpace, OutOfRange or Unavailable where none can take it,
        saying why for each.
        """
        names.check_name(name)
        self._places.check(parameters)
        wanted = _Wanted(name, required, limit, parameters.origin, source_id)
        async with self._names.call(name, "CreateVolume"):
            found = await self._find(name)
            if found is not None:
                return await self._again(wanted, parameters, reach, *found)
            source = await self._sources.find(source_id) if source_id else None
            refusals: list[tuple[str, DriverError]] = []
            for host, pool in await self._places.in_order(parameters, reach, source):
                try:
                    with self._places.underway.making(pool, required or sizes.DEFAULT_SIZE):
                        return await self._make(wanted, host, pool, source)
                except (OutOfSpace, OutOfRange) as error:
                    refusals.append((host.entry.name, error))
            raise self._places.why_none(refusals, parameters, reach)

    async def _again(
        self,
        wanted: _Wanted,
        parameters: Parameters,
        reach: Reach,
        host: StorageHost,
        volume: Volume,
    ) -> Volume:
        """Answer for a volume that there is, or go on with one that was begun."""
        pool = await _pool_of(volume, host)
        if not allows(parameters, host.entry.name, pool):
            raise AlreadyExists(
                f"Volume {wanted.name} exists in {pool.name} on {host.entry.name}, where the "
                f"StorageClass ({parameters}) has none: choose another name, or delete it first."
            )
        if not reach.allows(host.entry.zone):
            raise AlreadyExists(
                f"Volume {wanted.name} exists in zone {host.entry.zone}, which is not one of those "
                "asked for: choose another name, or delete it first."
            )
        if volume.copying:
            source = await self._sources.find(volume.source_id)
            return await self._make(wanted, host, pool, source)
        made = await host.create(
            wanted.name,
            wanted.required,
            wanted.limit,
            pool=pool,
            origin=wanted.origin,
            source_id=wanted.source_id,
        )
        if wanted.source_id:
            await self._sources.take_back(wanted.source_id, host, made.id)
        return made

    async def _make(
        self, wanted: _Wanted, host: StorageHost, pool: Pool, source: Source | None
    ) -> Volume:
        make = functools.partial(
            host.create,
            wanted.name,
            wanted.required,
            wanted.limit,
            pool=pool,
            origin=wanted.origin,
            source_id=wanted.source_id,
        )
        if source is None or source.host is host:
            return await make()
        # First the volume, unfinished: it is the record of what is lent for it.
        volume = await make(source_bytes=source.size_bytes)
        if volume.copying:
            lent = await self._lent(source, host, volume.id)
            volume = await self._copied(make, source, host, volume, lent)
        await self._sources.take_back(wanted.source_id, host, volume.id)
        return volume

    async def _lent(self, source: Source, host: StorageHost, volume_id: str) -> Publication:
        """What the volume that was begun is copied from. It goes again where that cannot be had: it
        is not the host of the volume that is at fault, so no other is tried."""
        try:
            return await self._sources.lend(source, host, volume_id)
        except (Aborted, Unavailable):
            raise
        except DriverError as error:
            await self.delete(volume_id)
            raise FailedPrecondition(
                f"{source.id} on {source.host.entry.name} cannot be copied from: {error}"
            ) from error

    async def _copied(
        self,
        make: Callable[..., Awaitable[Volume]],
        source: Source,
        host: StorageHost,
        volume: Volume,
        lent: Publication,
    ) -> Volume:
        """Copy into the volume that was begun.

        What else fails may pass, and what is copied by then stays. It is told as a passing error:
        after another a sidecar whose claim was deleted would not come again, and the volume would
        stay for ever (external-provisioner, pkg/controller/controller.go: checkError).
        """
        try:
            return await make(source=lent)
        except (OutOfSpace, OutOfRange):
            await self._sources.take_back(source.id, host, volume.id)
            raise  # the volume is gone again, and another place is tried
        except (Aborted, Unavailable):
            raise
        except DriverError as error:
            raise Unavailable(f"Volume {volume.id} is not copied yet: {error}") from error

    async def delete(self, volume_id: str) -> None:
        """Remove the volume; an unknown one is gone already. Raises Unavailable only where the
        host that would own it does not answer."""
        host = self._membership.owner(volume_id)
        if host is None:
            _log.warning("no storage host of now has its volume group: taken as deleted")
            return
        source_id, kept = await host.delete(volume_id)
        if source_id:
            try:
                await self._sources.take_back(source_id, host, volume_id)
            except Unavailable as error:
                if kept:
                    raise
                _log.warning("what was lent of a source stays lent", id=source_id, error=str(error))
        if kept:
            await host.delete(volume_id, source_taken_back=True)
        if source_id:
            await self._remove_begun(await self._begun_as(volume_id))

    async def get(self, volume_id: str) -> Volume:
        """Find the volume. Raises NotFound, or Unavailable where its host does not answer."""
        return await self._owner(volume_id).get(volume_id)

    async def all(self) -> list[Volume]:
        """All volumes of all hosts. Raises Unavailable where one does not answer: a list without
        its volumes would read as if they were detached."""
        lists = await asyncio.gather(*(host.volumes() for host in self._membership.hosts))
        return sorted((each for volumes in lists for each in volumes), key=lambda each: each.id)

    async def pools(self, parameters: Parameters, reach: Reach = ANYWHERE) -> list[Pool]:
        """The pools of this kind, of the hosts that answer. Raises Unavailable where none does."""
        return [pool for _, pool in await self._places.in_order(parameters, reach, None)]

    def zone_of(self, volume_id: str) -> str:
        """The zone of the storage host that has the volume; empty: there are no zones."""
        host = self._membership.owner(volume_id)
        return host.entry.zone if host else ""

    async def expand(self, volume_id: str, required: int, limit: int) -> Volume:
        """Grow the volume. Raises NotFound, OutOfRange where it cannot have such a size."""
        return await self._owner(volume_id).expand(volume_id, required, limit)

    async def publish(
        self, volume_id: str, node_id: str, *, read_only: bool, shared: bool
    ) -> Publication:
        """Export the volume to the node. Raises NotFound for an unknown volume or node."""
        host = self._owner(volume_id)
        await self._membership.check_node(node_id)
        return await host.publish(volume_id, node_id, read_only=read_only, shared=shared)

    async def unpublish(self, volume_id: str, node_id: str) -> None:
        """Fence the node (an empty name: all) off the volume; an unknown volume or node is fine."""
        host = self._membership.owner(volume_id)
        if host is not None:
            await host.unpublish(volume_id, node_id)

    def _owner(self, volume_id: str) -> StorageHost:
        if names.is_snapshot_id(volume_id):
            raise NotFound(f"There is no volume {volume_id}: that is the id of a snapshot.")
        return self._membership.owner_or_refuse(volume_id)

    async def _find(self, name: str) -> tuple[StorageHost, Volume] | None:
        """The volume of this name, where there is one.

        A host that does not answer may be starting again, with a volume of this name that an
        earlier call made: it is waited for. One that stays silent is passed over: a volume it has
        keeps its id, and shows as a duplicate when the host is back.
        """
        answers = await self._ask(lambda host: host.id_of(name), patient=True)
        volumes = [(host, answer) for host, answer in answers if isinstance(answer, Volume)]
        if not volumes:
            for _, answer in answers:
                if isinstance(answer, DriverError) and not isinstance(answer, Unavailable):
                    raise answer
            return None
        # A host that was silent meanwhile may have one that was begun there.
        first, *others = sorted(volumes, key=lambda each: each[1].copying)
        await self._remove_begun([volume.id for _, volume in others if volume.copying])
        return first

    async def _begun_as(self, volume_id: str) -> list[str]:
        """Volumes of the same name that were begun on other hosts, and are not finished."""
        answers = await self._ask(
            lambda host: [names.id_in(uuid, volume_id) for uuid in host.entry.volume_group_uuids]
        )
        return [each.id for _, each in answers if isinstance(each, Volume) and each.copying]

    async def _ask(
        self, ids: Callable[[StorageHost], list[str]], *, patient: bool = False
    ) -> list[tuple[StorageHost, Volume | DriverError | None]]:
        """What each host answers: its first volume that has one of the ids there, if any."""

        async def ask(host: StorageHost) -> Volume | None:
            for volume_id in ids(host):
                with contextlib.suppress(NotFound):
                    return await host.get(volume_id, patient=patient)
            return None

        return await ask_all(self._membership.hosts, ask)

    async def _remove_begun(self, volume_ids: Sequence[str]) -> None:
        """Remove volumes that are not finished, and take back what was lent for them."""
        for volume_id in volume_ids:
            try:
                await self.delete(volume_id)
            except DriverError as error:
                _log.warning("a volume begun twice stays", id=volume_id, error=str(error))


async def _pool_of(volume: Volume, host: StorageHost) -> Pool:
    """The pool that a volume is in. Raises FailedPrecondition where the role serves it no more."""
    for pool in await host.pools():
        if (volume.volume_group, volume.thin_pool) == (pool.volume_group, pool.thin_pool):
            return pool
    raise FailedPrecondition(
        f"Volume {volume.name} exists in {volume.volume_group}/{volume.thin_pool or ''} on "
        f"{host.entry.name}, which serves that no more: see its options --thin-pool and --thick."
    )
