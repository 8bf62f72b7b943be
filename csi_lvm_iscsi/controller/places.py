"""The pools of all storage hosts that a new volume may go to, the best first."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from csi_lvm_iscsi.controller.placement import Reach, Underway, allows
from csi_lvm_iscsi.controller.sources import Source
from csi_lvm_iscsi.model.errors import (
    DriverError,
    InvalidArgument,
    OutOfRange,
    OutOfSpace,
    Unavailable,
)
from csi_lvm_iscsi.model.parameters import Parameters
from csi_lvm_iscsi.model.volumes import Pool
from csi_lvm_iscsi.storage_client.host import StorageHost
from csi_lvm_iscsi.storage_client.membership import Membership

_TOLD = 3
"""Of so many pools an error says why they cannot: an event on a PVC has 1024 characters."""

T = TypeVar("T")
Place = tuple[StorageHost, Pool]


class Places:
    """The pools of the storage hosts that answer, and what this controller makes in them now."""

    def __init__(self, membership: Membership) -> None:
        self._membership = membership
        self.underway = Underway()

    async def in_order(
        self, parameters: Parameters, reach: Reach, source: Source | None
    ) -> list[Place]:
        """The pools that may be used, of the hosts that answer, the one to try first in front.

        Raises Unavailable where there are none, and a host that may have one is silent.
        """
        hosts = [host for host in self._near(parameters, reach) if not host.entry.closed]
        answers = await ask_all(hosts, lambda host: host.pools())
        places = [
            (host, pool)
            for host, answer in answers
            if not isinstance(answer, DriverError)
            for pool in answer
            if allows(parameters, host.entry.name, pool)
        ]
        silent = [answer for _, answer in answers if isinstance(answer, DriverError)]
        if silent and not places:
            reasons = [*map(str, silent), *self._closed(parameters, reach)]
            raise Unavailable(
                f"No storage host that answers makes these volumes ({parameters}): "
                f"{' '.join(reasons)}"
            )
        return sorted(
            places,
            key=lambda place: (
                reach.rank(place[0].entry.zone),
                source.distance(*place) if source else 0,
                self.underway.free_order(place[0].entry.name, place[1]),
            ),
        )

    def why_none(
        self,
        refusals: Sequence[tuple[str, DriverError]],
        parameters: Parameters,
        reach: Reach,
    ) -> DriverError:
        """One error for all hosts, by their names; "no space now" outweighs "never", as it may
        pass."""
        closed = self._closed(parameters, reach)
        if not refusals and not closed:
            zones = "" if reach.requisite is None else f" in zone {' or '.join(reach.requisite)}"
            return OutOfSpace(
                f"No storage host{zones} makes these volumes ({parameters}): see the parameters of "
                "the StorageClass, and the options --thin-pool and --thick of the storage role."
            )
        told = [f"{host}: {refusal}" for host, refusal in refusals[:_TOLD]]
        if others := len(refusals) - len(told):
            told.append(f"Nor can {others} other pools take it.")
        text = " ".join([*told, *closed])
        if closed or any(isinstance(refusal, OutOfSpace) for _, refusal in refusals):
            return OutOfSpace(text)
        return OutOfRange(text)

    def _closed(self, parameters: Parameters, reach: Reach) -> list[str]:
        """Of the hosts that may be used, why those are not that take no new volumes."""
        near = self._near(parameters, reach)
        return [host.entry.closed for host in near if host.entry.closed]

    def _near(self, parameters: Parameters, reach: Reach) -> list[StorageHost]:
        return [
            host
            for host in self._membership.hosts
            if parameters.storage_host in ("", host.entry.name) and reach.allows(host.entry.zone)
        ]

    def check(self, parameters: Parameters) -> None:
        """Raise InvalidArgument for a storage host that is none, or is retired."""
        hosts = [host.entry.name for host in self._membership.hosts]
        if parameters.storage_host and parameters.storage_host not in hosts:
            raise InvalidArgument(
                f"Parameter storageHost is {parameters.storage_host!r}, but the storage hosts are "
                f"{', '.join(hosts)}."
            )


async def ask_all(
    hosts: Sequence[StorageHost], question: Callable[[StorageHost], Awaitable[T]]
) -> list[tuple[StorageHost, T | DriverError]]:
    """Ask all hosts at once; an answer can be the error that came."""

    async def ask(host: StorageHost) -> T | DriverError:
        try:
            return await question(host)
        except DriverError as error:
            return error

    answers = await asyncio.gather(*map(ask, hosts))
    return list(zip(hosts, answers, strict=True))
