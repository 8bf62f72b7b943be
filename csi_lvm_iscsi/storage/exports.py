"""Exports: tgtd's state, made to follow the publications. It is derived, so it can be rebuilt."""

from collections.abc import Callable, Mapping, Sequence

import structlog

from csi_lvm_iscsi.model import chap, names, portals
from csi_lvm_iscsi.model.errors import FailedPrecondition
from csi_lvm_iscsi.model.publications import LUN
from csi_lvm_iscsi.storage.devices import Device
from csi_lvm_iscsi.storage.fencing import Fence
from csi_lvm_iscsi.storage.grants import Grant
from csi_lvm_iscsi.storage.portals import Portals
from csi_lvm_iscsi.storage.tgt.socket import TgtError
from csi_lvm_iscsi.storage.tgt.target import READY, LogicalUnit, Target, Tgtd, shown_megabytes

_log = structlog.get_logger()


class Exports:
    """One target per grant. Callers hold the volume (`model.in_flight`).

    Nodes that share a volume have a target each, never one together: a login in progress
    remembers nothing of its target but the tid, so that only a target that goes keeps out for
    certain who was about to come in.
    """

    def __init__(
        self, tgtd: Tgtd, fence: Fence, portals: Portals, keys: Mapping[str, bytes]
    ) -> None:
        self._tgtd = tgtd
        self._fence = fence
        self._portals = portals
        self._keys = keys

    async def ensure(self, volume_id: str, grants: Sequence[Grant], device: Device) -> None:
        """Make tgtd serve `device` to exactly the nodes of `grants`.

        First everyone without a grant is cut off: such a one may have a session, whether or not a
        killed call left a part. Then each target that is wrong is taken down, and made anew at
        once, so that its node notices nothing but a pause: this is also how a volume grows, as
        tgtd reads the size of a device only when it opens it.
        """
        held = await self._withdraw_all_but(volume_id, grants)
        for grant in grants:
            await self._serve(held.get(grant.target(volume_id)), volume_id, grant, device)

    async def remove(self, volume_id: str, kept: Sequence[Grant] = ()) -> None:
        """Fence everyone off the volume but the nodes of `kept`, whose targets are not touched;
        gone already is fine."""
        await self._withdraw_all_but(volume_id, kept)
        # A killed publish may have made an account, and not bound it yet.
        users = {chap.user(volume_id, grant.nonce) for grant in kept}
        for user in await self._tgtd.accounts():
            if user.startswith(chap.user_prefix(volume_id)) and user not in users:
                await self._tgtd.delete_account(user)

    async def _withdraw_all_but(self, volume_id: str, grants: Sequence[Grant]) -> dict[str, Target]:
        """Take down the targets of the volume that are of no grant; the others, by their names."""
        targets = await self._tgtd.targets_of(names.target_iqn(volume_id))
        held = {target.iqn: target for target in targets}
        for iqn in sorted(held.keys() - {grant.target(volume_id) for grant in grants}):
            await self._withdraw(held.pop(iqn))
        return held

    async def _serve(
        self, target: Target | None, volume_id: str, grant: Grant, device: Device
    ) -> None:
        """Make the target that one node has, unless it is there and right."""
        if target is not None and _is_right(target, volume_id, grant, device):
            return
        # Before anything is taken down that could not be made again.
        password = self._password(volume_id, grant)
        if target is not None and not _fits(target, volume_id, grant, device):
            await self._withdraw(target)
            target = None
        if target is None:
            target = await self._create(volume_id, grant, device)
        # The account comes before the name: a target without one lets initiators in without CHAP.
        user = chap.user(volume_id, grant.nonce)
        if user not in target.accounts:
            await self._tgtd.create_account(user, password)
            await self._tgtd.bind_account(target.tid, user)
        initiator = names.initiator_iqn(grant.node_id)
        if initiator not in target.acl:
            await self._tgtd.allow(target.tid, initiator)

    async def targets(self) -> dict[str, list[Target]]:
        """The targets of volumes, by volume id."""
        found: dict[str, list[Target]] = {}
        for iqn, target in (await self._tgtd.targets()).items():
            if volume_id := names.volume_of_target(iqn):
                found.setdefault(volume_id, []).append(target)
        return found

    async def remove_stray_accounts(self, granted: Callable[[], set[str]]) -> int:
        """Remove accounts of ours that are of no grant; how many there were.

        tgtd is asked first: a grant is written before its account is made, so an account that is
        listed is among the `granted` by then, or is stray.
        """
        listed = [user for user in await self._tgtd.accounts() if chap.is_user(user)]
        stray = set(listed) - granted()
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
        for portal in self._portals.refresh():
            if portal in listening or portals.everywhere(portal) in listening:
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

    async def _create(self, volume_id: str, grant: Grant, device: Device) -> Target:
        iqn = grant.target(volume_id)
        target = Target(await self._tgtd.create_target(iqn), iqn)
        await self._tgtd.create_unit(target.tid, device.path)
        await self._tgtd.identify_unit(
            target.tid,
            names.serial(volume_id),
            read_only=grant.read_only,
            discards=device.discards and self._tgtd.discards(),
        )
        return target

    async def _withdraw(self, target: Target) -> None:
        await self._fence.cut_off(target)
        await self._tgtd.delete_target(target.tid)

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


def is_in_line(
    targets: Sequence[Target], volume_id: str, grants: Sequence[Grant], device: Device | None
) -> bool:
    """Whether tgtd holds for a volume just what it should; no device is one that is not active."""
    if not grants or device is None:
        return not grants and not targets
    held = {target.iqn: target for target in targets}
    wanted = {grant.target(volume_id): grant for grant in grants}
    return held.keys() == wanted.keys() and all(
        _is_right(target, volume_id, wanted[iqn], device) for iqn, target in held.items()
    )


def _is_right(target: Target, volume_id: str, grant: Grant, device: Device) -> bool:
    complete = len(target.accounts) == len(target.acl) == 1
    return complete and _fits(target, volume_id, grant, device)


def _fits(target: Target, volume_id: str, grant: Grant, device: Device) -> bool:
    """Whether nothing about the target is wrong, though something may be missing."""
    serial = names.serial(volume_id)
    unit = LogicalUnit(
        path=device.path,
        serial=serial,
        identifier=serial,
        megabytes=shown_megabytes(device.size_bytes),
        read_only=grant.read_only,
    )
    return (
        target.state == READY
        and target.units.get(LUN) == unit
        and {chap.user(volume_id, grant.nonce)}.issuperset(target.accounts)
        and {names.initiator_iqn(grant.node_id)}.issuperset(target.acl)
    )
