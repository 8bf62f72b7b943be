"""Keeping initiators out: after a fence no write of theirs can reach the volume any more."""

from csi_lvm_iscsi.commands.waiting import until_async
from csi_lvm_iscsi.storage.tgt.target import Target, Tgtd

# A closed connection is listed until its requests in flight are done: milliseconds, or as long as
# the disk takes. One to a peer that vanished while it was reading has a full send buffer, so that
# tgtd sees no event of it: it ends when TCP gives it up (`tgt.connections`), or, where that cannot
# be set, with the third unanswered NOP (`tgt.target.NOP_SECONDS`).
_DRAIN_SECONDS = 40.0


class Fence:
    """Cuts all initiators off a target."""

    def __init__(self, tgtd: Tgtd) -> None:
        self._tgtd = tgtd

    async def cut_off(self, target: Target) -> None:
        """Cut everyone off.

        In this order: the names (no new login), the connections (drained when none is listed), the
        accounts. Then once more the connections: a login that was under way when its name was
        taken off the list was checked against the old list. Raises TookTooLong where a connection
        does not end: then the initiator may still write, and the fence does not hold.
        """
        for initiator in target.acl:
            await self._tgtd.disallow(target.tid, initiator)
        await self._drain(target)
        for user in target.accounts:
            await self._tgtd.delete_account(user)
        await self._drain(target)

    async def _drain(self, target: Target) -> None:
        async def drained() -> bool:
            connections = await self._tgtd.connections(target.tid)
            for connection in connections:
                await self._tgtd.close(target.tid, connection)
            return not connections

        await until_async(
            drained,
            _DRAIN_SECONDS,
            f"Connections to {target.iqn} were closed but have requests in flight after "
            f"{_DRAIN_SECONDS:g} s: see whether the disks of the storage host answer.",
        )
