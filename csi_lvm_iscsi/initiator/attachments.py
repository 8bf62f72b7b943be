"""A volume's disk on this host: logged in to, identified, and taken away again.

With one portal it is the disk of one session; with several, a multipath map over the disks of one
session at each.
"""

from collections.abc import Mapping

from csi_lvm_iscsi.initiator.devices import Device, Devices
from csi_lvm_iscsi.initiator.maps import Map, Maps
from csi_lvm_iscsi.initiator.node_records import NodeRecords
from csi_lvm_iscsi.initiator.paths import Paths, Wanted, missing_of, settled
from csi_lvm_iscsi.initiator.sessions import LOGGED_IN, Session, Sessions
from csi_lvm_iscsi.model import chap, names
from csi_lvm_iscsi.model.errors import FailedPrecondition
from csi_lvm_iscsi.model.health import Kind, Trouble
from csi_lvm_iscsi.model.publications import LUN, Publication


class Attachments:
    """The disks of volumes.

    The truth is the kernel's: a session's CHAP user and a map's uuid tell which publication they
    are of, so that no file has to be believed. A session also tells whether it was begun alone, so
    that a volume that is staged stays as it is when its host gets or loses a portal.
    """

    def __init__(
        self,
        *,
        records: NodeRecords,
        sessions: Sessions,
        devices: Devices,
        maps: Maps,
        paths: Paths,
        keys: Mapping[str, bytes],
    ) -> None:
        self._records = records
        self._sessions = sessions
        self._devices = devices
        self._maps = maps
        self._paths = paths
        self._keys = keys

    def session(self, publication: Publication) -> Session | None:
        """A session of just this publication."""
        return next(iter(self._paths.sessions(Wanted.of(publication))), None)

    def stale_sessions(self, publication: Publication) -> tuple[Session, ...]:
        """The sessions of other publications of the volume."""
        user = chap.user(publication.volume_id, publication.nonce)
        sessions = self._sessions.of_volume(publication.volume_id)
        return tuple(session for session in sessions if session.user != user)

    def stale_disks(self, publication: Publication) -> tuple[Device, ...]:
        """The disks and maps that other publications of the volume left."""
        sessions = self.stale_sessions(publication)
        disks = (disk for session in sessions for disk in self._devices.all(session))
        return (*self._stale_maps(publication), *disks)

    def disks(self, volume_id: str) -> tuple[Device, ...]:
        """The maps of the volume, and the disks that its sessions have now."""
        sessions = self._sessions.of_volume(volume_id)
        disks = (disk for session in sessions for disk in self._devices.all(session))
        return (*self._maps.of(volume_id), *disks)

    async def ensure_session(self, publication: Publication) -> Session:
        """A session of this publication that works; existing ones are used.

        Where there are several portals, all that answer are logged in to.
        """
        wanted = Wanted.of(publication)
        session = self.session(publication)
        several = len(publication.portals) > 1 if session is None else not session.alone
        if session is not None and not several:
            await self._sessions.wait_until_ready(session, session.portal)
            return session
        if missing_of(self._paths.sessions(wanted), publication.portals):
            password = self._password(publication)
            await self._records.write(
                wanted.target, publication.portals, wanted.user, password, several=several
            )
        if several:
            return await self._paths.ensure_sessions(wanted, publication.portals)
        return await self._sessions.login(wanted.target, publication.portals[0], wanted.user)

    async def ensure_disk(self, publication: Publication, session: Session) -> Device:
        """The disk of the volume, identified. `session` is what `ensure_session` returned.

        A disk that is not the published one is removed and looked for once more, as the kernel may
        know it from before. Raises FailedPrecondition where it is still another one.
        """
        if session.alone:
            return await self._devices.ensure(
                session, publication.lun, publication.serial, publication.size_bytes
            )
        return await self._paths.ensure_map(Wanted.of(publication))

    async def find_disk(self, publication: Publication) -> Device:
        """The disk of the publication, with its session working and its identity checked.

        Raises FailedPrecondition where it is not there, Unavailable where its session is cut.
        """
        wanted = Wanted.of(publication)
        session = self.session(publication)
        device = self._disk_of(session, wanted) if session else None
        if session is None or device is None:
            raise FailedPrecondition(
                f"Volume {publication.volume_id} has no disk on this node: it was logged out. Call "
                "NodeUnstageVolume, then NodeStageVolume."
            )
        await self._check(session, wanted)
        return device

    def trouble(self, publication: Publication) -> Trouble | None:
        """What keeps the disk of a publication from working; None: nothing. It starts no I/O."""
        wanted = Wanted.of(publication)
        session = self.session(publication)
        device = self._disk_of(session, wanted) if session else None
        if session is None or device is None:
            return Trouble(
                Kind.INACCESSIBLE,
                "DiskGone",
                "The disk of the volume is gone from this node: its session was ended. End the "
                "pods that use it, so that it is staged anew.",
            )
        sessions = self._paths.sessions(wanted)
        working = self._paths.working(sessions)
        if not working:
            portals = ", ".join(each.portal for each in sessions)
            return Trouble(
                Kind.INACCESSIBLE,
                "SessionCut",
                f"The session to {portals} is cut and being recovered: bring the storage host "
                "back, or look at the network between.",
            )
        if session.alone:
            return self._offline(session)
        used = [each for each in working if self._paths.takes_io([each])]
        if not used or not self._devices.size(device):
            return Trouble(
                Kind.INACCESSIBLE,
                "DiskOffline",
                f"No disk of {device.path} takes I/O now: see the kernel's log. If it stays so, "
                "end the pods that use it, so that it is staged anew.",
            )
        missing = missing_of(used, publication.portals)
        if missing:
            return Trouble(
                Kind.DEGRADED,
                "PathLost",
                f"The volume has no path by {', '.join(missing)} now: look at the network between. "
                "It is used again as soon as it works.",
            )
        return None

    def _offline(self, session: Session) -> Trouble | None:
        device = self._devices.find(session, LUN)
        state = self._devices.state(device) if device else ""
        if device is None or state == "running":
            return None
        return Trouble(
            Kind.INACCESSIBLE,
            "DiskOffline",
            f"The disk {device.path} of the volume is {state or 'gone'}: its I/O fails. See "
            "the kernel's log; end the pods that use it, so that it is staged anew.",
        )

    async def ensure_size(self, volume_id: str, size_bytes: int) -> Device:
        """The disk of a volume that has grown on its storage host, with at least this size.

        Each path is asked anew, then the map gets the size of the smallest. Raises
        FailedPrecondition where the volume has no disk here, or one that is smaller still,
        Unavailable where no session works.
        """
        for session in self._sessions.of_volume(volume_id):
            nonce = session.user.removeprefix(chap.user_prefix(volume_id))
            wanted = Wanted(volume_id, nonce, size_bytes, session.target)
            device = self._disk_of(session, wanted)
            if device is None:
                continue
            # First of all: `ensure_map` would remove smaller disks, though they are in use.
            await self._check(session, wanted)
            return device if session.alone else await self._paths.ensure_map(wanted)
        raise FailedPrecondition(
            f"Volume {volume_id} has no disk on this node: call NodeStageVolume first."
        )

    async def retire_stale(self, publication: Publication) -> None:
        """End what other publications of the volume left, its data unwritten. A map that is still
        mounted goes when it is unmounted."""
        for session in self.stale_sessions(publication):
            await self.drop(session)
        for map_ in self._stale_maps(publication):
            await self._maps.abandon(map_)

    async def drop(self, session: Session) -> None:
        """End a session whose data must not be written any more, without waiting for its disk.

        The disk is set offline first: when the session ends, the kernel writes out what it has
        cached (block/genhd.c, del_gendisk), which must fail even if the session is back just then.
        The map above would keep that for the next path, so it fails from now on too.
        """
        for map_ in self._maps.all():
            if map_.user == session.user:
                await self._maps.set_queueing(map_, on=False)
        for device in self._devices.all(session):
            await self._devices.set_offline(device)
        await self._sessions.logout(session)

    async def release(self, volume_id: str) -> None:
        """Write out, remove the disks, log out and forget the records of a volume, whichever of
        them there are."""
        users = {session.user for session in self._sessions.of_volume(volume_id)}
        for map_ in self._maps.of(volume_id):
            if map_.user not in users and not await self._maps.is_queueing(map_):
                # It was given up, all its I/O fails. Who still has it open must not hold up those
                # who use the volume now.
                await self._maps.abandon(map_)
                continue
            await self._devices.flush(map_)
            await self._maps.remove(map_)
        _, errors = await settled(map(self._end, self._sessions.of_volume(volume_id)))
        if errors:
            raise errors[0]
        await self._records.forget(volume_id)

    async def _end(self, session: Session) -> None:
        # What was written through a map was written out with it, and a path whose cut was not
        # noticed yet would hold up its removal.
        for device in self._devices.all(session) if session.alone else ():
            await self._devices.flush(device)
            if self._sessions.state(session) == LOGGED_IN:
                await self._devices.remove(device)
        await self.drop(session)

    def _disk_of(self, session: Session, wanted: Wanted) -> Device | None:
        if session.alone:
            return self._devices.find(session, LUN)
        return self._maps.find(wanted.volume_id, wanted.nonce)

    async def _check(self, session: Session, wanted: Wanted) -> None:
        """Wait until the disk of a volume can be asked anew who it is, and do so."""
        if not session.alone:
            await self._paths.wait_until_one_works(wanted)
            await self._paths.check(wanted)
            return
        await self._sessions.wait_until_ready(session, session.portal)
        disk = self._devices.find(session, LUN)
        if disk is not None:
            await self._devices.refresh(disk)
            self._devices.check_identity(disk, names.serial(wanted.volume_id), wanted.size_bytes)

    def _stale_maps(self, publication: Publication) -> tuple[Map, ...]:
        maps = self._maps.of(publication.volume_id)
        return tuple(map_ for map_ in maps if map_.nonce != publication.nonce)

    def _password(self, publication: Publication) -> str:
        try:
            key = self._keys[publication.key_id]
        except KeyError:
            raise FailedPrecondition(
                f"This node has no CHAP key {publication.key_id!r}, which the storage host used: "
                "give both the same keys (--chap-keys)."
            ) from None
        return chap.password(key, publication.volume_id, publication.node_id, publication.nonce)
