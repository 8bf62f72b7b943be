"""A volume's disk on this node: logged in to, identified, and taken away again."""

from collections.abc import Mapping

import structlog

from csi_lvm_iscsi.initiator.devices import Device, Devices
from csi_lvm_iscsi.initiator.node_records import NodeRecords
from csi_lvm_iscsi.initiator.sessions import LOGGED_IN, Session, Sessions
from csi_lvm_iscsi.model import chap, names
from csi_lvm_iscsi.model.errors import FailedPrecondition
from csi_lvm_iscsi.model.health import Kind, Trouble
from csi_lvm_iscsi.model.publications import Publication

_log = structlog.get_logger()


class Attachments:
    """The disks of volumes.

    The truth is the kernel's: a session's CHAP user tells which publication it is of, so that no
    file has to be believed.
    """

    def __init__(
        self,
        records: NodeRecords,
        sessions: Sessions,
        devices: Devices,
        keys: Mapping[str, bytes],
    ) -> None:
        self._records = records
        self._sessions = sessions
        self._devices = devices
        self._keys = keys

    def session(self, publication: Publication) -> Session | None:
        """The session of just this publication."""
        user = chap.user(publication.volume_id, publication.nonce)
        return next((s for s in self._sessions.of(publication.target) if s.user == user), None)

    def stale_sessions(self, publication: Publication) -> tuple[Session, ...]:
        """The sessions of other publications of the volume."""
        user = chap.user(publication.volume_id, publication.nonce)
        return tuple(s for s in self._sessions.of(publication.target) if s.user != user)

    def disks(self, volume_id: str) -> tuple[Device, ...]:
        """The disks that sessions of the volume have now."""
        sessions = self._sessions.of(names.target_iqn(volume_id))
        return tuple(disk for session in sessions for disk in self._devices.all(session))

    async def ensure_session(self, publication: Publication) -> Session:
        """The session of this publication, logged in; an existing one is used."""
        portal = publication.portals[0]
        session = self.session(publication)
        if session is None:
            user = chap.user(publication.volume_id, publication.nonce)
            await self._records.write(publication.target, portal, user, self._password(publication))
            return await self._sessions.login(publication.target, portal, user)
        await self._sessions.wait_until_ready(session, portal)
        return session

    async def ensure_disk(self, publication: Publication, session: Session) -> Device:
        """The disk of the session, identified.

        One that is not the published disk is removed and looked for once more, as the kernel may
        know it from before. Raises FailedPrecondition where it is still another one.
        """
        device = self._devices.find(session, publication.lun)
        if device is None:
            device = await self._devices.appear(session, publication.lun)
        else:
            await self._devices.refresh(device)
        try:
            self._check(publication, device)
        except FailedPrecondition as error:
            _log.warning("another disk than was published", device=device.name, error=str(error))
            # The removal writes out what is cached, which was meant for the disk that was there.
            await self._devices.set_offline(device)
            await self._devices.remove(device)
            device = await self._devices.appear(session, publication.lun)
            self._check(publication, device)
        await self._devices.forbid_write_same(device)
        return device

    async def find_disk(self, publication: Publication) -> Device:
        """The disk of the publication, with its session working and its identity checked.

        Raises FailedPrecondition where it is not there, Unavailable where its session is cut.
        """
        session = self.session(publication)
        device = self._devices.find(session, publication.lun) if session else None
        if session is None or device is None:
            raise FailedPrecondition(
                f"Volume {publication.volume_id} has no disk on this node: it was logged out. Call "
                "NodeUnstageVolume, then NodeStageVolume."
            )
        await self._sessions.wait_until_ready(session, publication.portals[0])
        await self._devices.refresh(device)
        self._check(publication, device)
        return device

    def trouble(self, publication: Publication) -> Trouble | None:
        """What keeps the disk of a publication from working; None: nothing. It starts no I/O."""
        session = self.session(publication)
        device = self._devices.find(session, publication.lun) if session else None
        if session is None or device is None:
            return Trouble(
                Kind.INACCESSIBLE,
                "DiskGone",
                "The disk of the volume is gone from this node: its session was ended. End the "
                "pods that use it, so that it is staged anew.",
            )
        if self._sessions.state(session) != LOGGED_IN:
            return Trouble(
                Kind.INACCESSIBLE,
                "SessionCut",
                f"The session to {publication.portals[0]} is cut and being recovered: bring the "
                "storage host back, or look at the network between.",
            )
        state = self._devices.state(device)
        if state != "running":
            return Trouble(
                Kind.INACCESSIBLE,
                "DiskOffline",
                f"The disk {device.path} of the volume is {state or 'gone'}: its I/O fails. See "
                "the kernel's log; end the pods that use it, so that it is staged anew.",
            )
        return None

    async def drop(self, session: Session) -> None:
        """End a session whose data must not be written any more, without waiting for its disk.

        The disk is set offline first: when the session ends, the kernel writes out what it has
        cached (block/genhd.c, del_gendisk), which must fail even if the session is back just then.
        """
        for device in self._devices.all(session):
            await self._devices.set_offline(device)
        await self._sessions.logout(session)

    async def release(self, volume_id: str) -> None:
        """Write out, remove the disks, log out and forget the records of a volume, whichever of
        them there are."""
        target = names.target_iqn(volume_id)
        for session in self._sessions.of(target):
            for device in self._devices.all(session):
                await self._devices.flush(device)
                if self._sessions.state(session) == LOGGED_IN:
                    await self._devices.remove(device)
            await self.drop(session)
        await self._records.forget(target)

    def _check(self, publication: Publication, device: Device) -> None:
        self._devices.check_identity(device, publication.serial, publication.size_bytes)

    def _password(self, publication: Publication) -> str:
        try:
            key = self._keys[publication.key_id]
        except KeyError:
            raise FailedPrecondition(
                f"This node has no CHAP key {publication.key_id!r}, which the storage host used: "
                "give both the same keys (--chap-keys)."
            ) from None
        return chap.password(key, publication.volume_id, publication.node_id, publication.nonce)
