"""Exports: tgtd's state, made to follow the publications. It is derived, so it can be rebuilt."""

from collections.abc import Callable, Mapping, Sequence

import structlog

from csi_lvm_iscsi.model import chap, names
from csi_lvm_iscsi.model.errors import FailedPrecondition
from csi_lvm_iscsi.model.publications import LUN
from csi_lvm_iscsi.storage.fencing import Fence
from csi_lvm_iscsi.storage.grants import Grant
from csi_lvm_iscsi.storage.tgt.socket import TgtError
from csi_lvm_iscsi.storage.tgt.target import LogicalUnit, Target, Tgtd

_log = structlog.get_logger()


class Exports:
    """One target per published volume. Callers hold the volume (`model.in_flight`)."""

    def __init__(
        self, tgtd: Tgtd, fence: Fence, portals: Sequence[str], keys: Mapping[str, bytes]
    ) -> None:
        self._tgtd = tgtd
        self._fence = fence
        self._portals = portals
        self._keys = keys

    async def ensure(self, volume_id: str, grants: Sequence[Grant], device: str) -> None:
        """Make the target serve `device` to exactly the nodes of `grants`.

        A target with anything else about it is taken down first, and everyone cut off: a grant that
        is gone may have a session, and a killed call may have left a part. The account comes before
        the name, so that there is never a target that lets an initiator in without CHAP.
        """
        target = await self._tgtd.target(names.target_iqn(volume_id))
        if target is not None and not _fits(target, volume_id, grants, device):
            await self._withdraw(target)
            target = None
        if target is None:
            target = await self._create(volume_id, device)
        for grant in grants:
            await self._admit(target, volume_id, grant)

    async def _admit(self, target: Target, volume_id: str, grant: Grant) -> None:
        user = chap.user(volume_id, grant.nonce)
        if user not in target.accounts:
            await self._tgtd.create_account(user, self._password(volume_id, grant))
            await self._tgtd.bind_account(target.tid, user)
        initiator = names.initiator_iqn(grant.node_id)
        if initiator not in target.acl:
            await self._tgtd.allow(target.tid, initiator)

    async def remove(self, volume_id: str) -> None:
        """Fence everyone off the volume and remove its target; gone already is fine."""
        target = await self._tgtd.target(names.target_iqn(volume_id))
        if target is not None:
            await self._withdraw(target)
        await self._remove_accounts(chap.user_prefix(volume_id))

    async def targets(self) -> dict[str, Target]:
        """The targets of volumes, by volume id."""
        ours = f"{names.IQN_PREFIX}:"
        targets = await self._tgtd.targets()
        return {
            iqn.removeprefix(ours): each for iqn, each in targets.items() if iqn.startswith(ours)
        }

    async def remove_stray_accounts(self, published: Callable[[], set[str]]) -> int:
        """Remove accounts of ours whose volume is not published; how many there were.

        tgtd is asked first: a grant is written before its account is made, so an account that is
        listed belongs to a volume that is `published` by then, or is stray.
        """
        users = await self._tgtd.accounts()
        prefixes = tuple(map(chap.user_prefix, published()))
        stray = [user for user in users if chap.is_user(user) and not user.startswith(prefixes)]
        for user in stray:
            await self._tgtd.delete_account(user)
        return len(stray)

    async def open_portals(self) -> list[str]:
        """Listen at the portals; those that were opened now.

        Done last: an initiator that finds a portal but no target comes back 14 s later than one
        that found no portal. One that cannot be opened is logged, and does not close the others.
        """
        listening = await self._tgtd.portals()
        opened = []
        for portal in self._portals:
            if portal in listening or f"0.0.0.0:{portal.rpartition(':')[2]}" in listening:
                continue
            try:
                await self._tgtd.create_portal(portal)
            except TgtError as error:
                _log.error(
                    "portal cannot be opened: see that the address is of this host, and that "
                    "nothing else listens there",
                    portal=portal,
                    error=str(error),
                )
            else:
                opened.append(portal)
        return opened

    async def _create(self, volume_id: str, device: str) -> Target:
        target = Target(
            await self._tgtd.create_target(names.target_iqn(volume_id)), names.target_iqn(volume_id)
        )
        await self._tgtd.create_unit(target.tid, device)
        await self._tgtd.identify_unit(target.tid, names.serial(volume_id))
        return target

    async def _withdraw(self, target: Target) -> None:
        await self._fence.cut_off(target)
        await self._tgtd.delete_target(target.tid)

    async def _remove_accounts(self, prefix: str) -> None:
        """Remove accounts that a killed publish made but did not bind yet."""
        for user in await self._tgtd.accounts():
            if user.startswith(prefix):
                await self._tgtd.delete_account(user)

    def _password(self, volume_id: str, grant: Grant) -> str:
        try:
            key = self._keys[grant.key_id]
        except KeyError:
            raise FailedPrecondition(
                f"CHAP key {grant.key_id}, with which volume {volume_id} was published to node "
                f"{grant.node_id}, is missing on the storage host: put it back, or unpublish the "
                "volume first."
            ) from None
        return chap.password(key, volume_id, grant.node_id, grant.nonce)


def is_in_line(target: Target | None, volume_id: str, grants: Sequence[Grant], device: str) -> bool:
    """Whether tgtd holds for a volume just what it should."""
    if target is None:
        return not grants
    complete = len(target.accounts) == len(target.acl) == len(grants) > 0
    return complete and _fits(target, volume_id, grants, device)


def _fits(target: Target, volume_id: str, grants: Sequence[Grant], device: str) -> bool:
    """Whether nothing about the target is wrong, though something may be missing."""
    serial = names.serial(volume_id)
    users = {chap.user(volume_id, grant.nonce) for grant in grants}
    allowed = {names.initiator_iqn(grant.node_id) for grant in grants}
    return (
        target.units.get(LUN) == LogicalUnit(path=device, serial=serial, identifier=serial)
        and users.issuperset(target.accounts)
        and allowed.issuperset(target.acl)
    )
