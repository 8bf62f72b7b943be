"""Exports: tgtd's state, made to follow the publications. It is derived, so it can be rebuilt."""

from collections.abc import Callable, Mapping, Sequence

from csi_lvm_iscsi.model import chap, names
from csi_lvm_iscsi.model.errors import FailedPrecondition
from csi_lvm_iscsi.model.publications import LUN
from csi_lvm_iscsi.storage.fencing import Fence
from csi_lvm_iscsi.storage.grants import Grant
from csi_lvm_iscsi.storage.tgt.target import LogicalUnit, Target, Tgtd


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

        The account comes before the name, so that there is never a target that lets an initiator
        in without CHAP.
        """
        target = (await self._tgtd.targets()).get(names.target_iqn(volume_id))
        if target is not None and not _serves(target, volume_id, device):
            await self._withdraw(target)
            target = None
        users = {chap.user(volume_id, grant.nonce): grant for grant in grants}
        allowed = {names.initiator_iqn(grant.node_id) for grant in grants}
        if target is None:
            target = await self._create(volume_id, device)
        else:
            await self._fence.keep_out(target, allowed, set(users))
        for user, grant in users.items():
            if user not in target.accounts:
                await self._tgtd.create_account(user, self._password(volume_id, grant))
                await self._tgtd.bind_account(target.tid, user)
        for initiator in sorted(allowed - set(target.acl)):
            await self._tgtd.allow(target.tid, initiator)

    async def remove(self, volume_id: str) -> None:
        """Fence everyone off the volume and remove its target; gone already is fine."""
        target = (await self._tgtd.targets()).get(names.target_iqn(volume_id))
        if target is not None:
            await self._withdraw(target)
        await self._remove_accounts(chap.user_prefix(volume_id))

    async def exported(self) -> set[str]:
        """The volumes that have a target."""
        ours = f"{names.IQN_PREFIX}:"
        targets = await self._tgtd.targets()
        return {iqn.removeprefix(ours) for iqn in targets if iqn.startswith(ours)}

    async def remove_stray_accounts(self, published: Callable[[], set[str]]) -> None:
        """Remove accounts of ours whose volume is not published.

        tgtd is asked first: a grant is written before its account is made, so an account that is
        listed belongs to a volume that is `published` by then, or is stray.
        """
        users = await self._tgtd.accounts()
        prefixes = tuple(map(chap.user_prefix, published()))
        for user in users:
            if chap.is_user(user) and not user.startswith(prefixes):
                await self._tgtd.delete_account(user)

    async def open_portals(self) -> bool:
        """Listen at the portals; whether that was new.

        Done last: an initiator that finds a portal but no target comes back 14 s later than one
        that found no portal.
        """
        closed = set(self._portals) - set(await self._tgtd.portals())
        for portal in sorted(closed):
            await self._tgtd.create_portal(portal)
        return bool(closed)

    async def _create(self, volume_id: str, device: str) -> Target:
        target = Target(
            await self._tgtd.create_target(names.target_iqn(volume_id)), names.target_iqn(volume_id)
        )
        await self._tgtd.create_unit(target.tid, device)
        await self._tgtd.identify_unit(target.tid, names.serial(volume_id))
        return target

    async def _withdraw(self, target: Target) -> None:
        await self._fence.keep_out(target, allowed=set(), users=set())
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


def _serves(target: Target, volume_id: str, device: str) -> bool:
    """Whether the target is whole: a killed publish may have left a part of it."""
    serial = names.serial(volume_id)
    return target.units.get(LUN) == LogicalUnit(path=device, serial=serial, identifier=serial)
