"""LVM's commands. The only file that knows how lvm is spoken to."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from csi_lvm_iscsi.commands.runner import CommandFailed, Runner, Where
from csi_lvm_iscsi.model.errors import DriverError, OutOfSpace, Unavailable
from csi_lvm_iscsi.storage import iscsi_disks
from csi_lvm_iscsi.storage.report import COLUMNS, VolumeGroup, parse

_READ_SECONDS = 60.0
# lvm that changes something is never killed: it blocks all other signals while it holds the group's
# lock, as a stop between suspend and resume would leave the pool, and all I/O on it, suspended.
_CHANGE_SECONDS = 180.0
# How long a change waits for those before it; the sidecars' calls take no longer.
_TURN_SECONDS = 60.0
# lvm ends with 5, ECMD_FAILED, whatever failed (lvm2, lib/commands/errors.h): the text must tell.
_FAILED = 5
_EXISTS = "already exists in volume group"
# lvremove, then lvrename.
_NOT_FOUND = ("Failed to find logical volume", "Existing logical volume")
_MISSING = "while PVs are missing"
_IN_USE = " in use"
_NO_THIN_DEVICE = "No data available"  # ENODATA of the pool
# A logical volume that is made and removed at once.
_MESSENGER, _MESSENGER_BYTES = "csi-lvm-iscsi-messenger", 4 << 20
_SAME_SIZE = "matches existing size"
_NOT_A_SNAPSHOT = "does not accept LV type"
# What lvcreate and lvextend say when the pool, its metadata or the group has no room.
_NO_SPACE = ("reached threshold", "insufficient free space", "Insufficient free space")


class Lvm:
    """lvm on one volume group. Each verb starts one process, and makes one commit of the group's
    metadata.

    After the first report lvm changes things on the group's own disks only (`--devices`). It never
    looks at what a tenant wrote: not into a volume, nor at disks of other storage hosts that this
    host has logged in to.
    """

    def __init__(self, runner: Runner, volume_group: str, sys: Path = Path("/sys")) -> None:
        self._runner = runner
        self._sys = sys
        self.volume_group = volume_group
        self._devices: tuple[str, ...] = ()
        self._changing = asyncio.Lock()

    async def report(self) -> VolumeGroup:
        """Read the volume group. Raises DriverError where it is not there."""
        arguments = [
            part for kind, columns in COLUMNS for part in ("--configreport", kind, "-o", columns)
        ]
        try:
            # Not bound to the known disks: this is how a disk that was added becomes known.
            completed = await self._runner.run(
                "lvm", "fullreport", "--reportformat", "json", "--units", "b", "--nosuffix",
                "--config", self._config(), *arguments, self.volume_group,
                where=Where.HOST, seconds=_READ_SECONDS,
            )  # fmt: skip
        except CommandFailed as error:
            raise DriverError(
                f"Volume group {self.volume_group} cannot be read: "
                f"{error.completed.stderr.strip()}. Look at `vgs` and `pvs` on this host."
            ) from error
        group = parse(completed.stdout, self.volume_group)
        self._devices = tuple(
            part for name in group.physical_volumes for part in ("--devices", name)
        )
        return group

    def _config(self) -> str:
        """Of a group with our name on a tenant's disk lvm would find a duplicate. It is the
        `filter` that is replaced, as the administrator's `global_filter` counts beside it."""
        rejected = iscsi_disks.patterns(self._sys)
        filtered = f" devices/filter={json.dumps(rejected)}" if rejected else ""
        return f"devices/scan_lvs=0{filtered}"

    async def create_thin(self, pool: str, name: str, size_bytes: int, tags: Iterable[str]) -> bool:
        """Make a thin logical volume, active, with its tags.

        It reads as zeros: the pool zeroes each new block. Answers False where the name exists.
        """
        return await self._create(
            "--type", "thin", "--thinpool", self._full_name(pool),
            "--virtualsize", f"{size_bytes}b", "--name", name, *_tagged(tags),
        )  # fmt: skip

    async def create_thick(self, name: str, size_bytes: int, tags: Iterable[str]) -> bool:
        """Make a linear logical volume, active, with its tags. Answers False where it exists."""
        return await self._create(
            "--type", "linear", "--wipesignatures", "y", "--zero", "y",
            "--size", f"{size_bytes}b", "--name", name, *_tagged(tags), self.volume_group,
        )  # fmt: skip

    async def snapshot_thin(
        self, origin: str, name: str, tags: Iterable[str], *, writable: bool
    ) -> bool:
        """Make a snapshot of a thin logical volume in its pool: a volume, active and `writable`,
        or one that is kept, inactive and read-only. Answers False where the name exists."""
        use = ("--activate", "y") if writable else ("--activate", "n", "--permission", "r")
        return await self._create(
            "--snapshot", "--setactivationskip", "n", *use,
            "--name", name, *_tagged(tags), self._full_name(origin),
        )  # fmt: skip

    async def snapshot_thick(self, origin: str, name: str, tags: Iterable[str]) -> bool:
        """Make a copy-on-write snapshot, with a store that can hold all of its origin, so that it
        never overflows (lvm2, lib/metadata/snapshot_manip.c, cow_max_extents). Answers False where
        the name exists."""
        return await self._create(
            "--snapshot", "--extents", "100%ORIGIN",
            "--name", name, *_tagged(tags), self._full_name(origin),
        )  # fmt: skip

    async def extend(self, name: str, size_bytes: int) -> None:
        """Make a logical volume this large; OK where it is. Raises OutOfSpace."""
        try:
            await self._change(
                "lvextend", "--yes", "--size", f"{size_bytes}b", self._full_name(name)
            )
        except CommandFailed as error:
            if not _said(error, _SAME_SIZE):
                raise self._out_of_space(error) from error

    async def extend_pool(self, pool: str, by_bytes: int) -> None:
        """Make a thin pool larger by so much. Raises OutOfSpace."""
        await self._extend_by(pool, "--size", by_bytes)

    async def extend_pool_metadata(self, pool: str, by_bytes: int) -> None:
        """Make the metadata of a thin pool, and its spare, larger by so much. Raises OutOfSpace."""
        await self._extend_by(pool, "--poolmetadatasize", by_bytes)

    async def _extend_by(self, pool: str, option: str, by_bytes: int) -> None:
        try:
            await self._change("lvextend", "--yes", option, f"+{by_bytes}b", self._full_name(pool))
        except CommandFailed as error:
            raise self._out_of_space(error) from error

    async def activate(self, name: str, thin_pool: str = "") -> None:
        """Make a logical volume active, or leave it so.

        A thin one that was being made when the host lost power may be in LVM's metadata alone,
        beside a message for the pool that was not sent. lvm sends that before it makes or removes
        another one (lib/metadata/thin_manip.c, update_pool_lv), so one is made and removed.
        """
        try:
            await self._change("lvchange", "--activate", "y", self._full_name(name))
        except CommandFailed as error:
            if not thin_pool or not _said(error, _NO_THIN_DEVICE):
                raise
            await self.create_thin(thin_pool, _MESSENGER, _MESSENGER_BYTES, ())
            await self.remove(_MESSENGER)
            await self._change("lvchange", "--activate", "y", self._full_name(name))

    async def deactivate(self, name: str) -> None:
        """Make a logical volume inactive, unless it is open."""
        try:
            await self._change("lvchange", "--activate", "n", self._full_name(name))
        except CommandFailed as error:
            if not _said(error, _IN_USE):
                raise

    async def add_tags(self, name: str, tags: Iterable[str]) -> None:
        """Tag a logical volume."""
        await self._change("lvchange", *_tagged(tags), self._full_name(name))

    async def allow_activation(self, name: str) -> None:
        """Take the mark off a logical volume that `lvchange --activate y` passes over, as thin
        snapshots have, and what Cinder makes of them (lvmthin(7))."""
        await self._change("lvchange", "--setactivationskip", "n", self._full_name(name))

    async def remove_tag(self, name: str, tag: str) -> None:
        """Take a tag off a logical volume, where it has it."""
        await self._change("lvchange", "--deltag", tag, self._full_name(name))

    async def rename(self, name: str, new: str) -> None:
        """Rename a logical volume, which may be open; gone already is fine."""
        try:
            await self._change("lvrename", self.volume_group, name, new)
        except CommandFailed as error:
            if not _said(error, *_NOT_FOUND):
                raise

    async def split_snapshot(self, name: str) -> None:
        """Part a copy-on-write store from its origin, so that it can be wiped; OK where it was."""
        try:
            await self._change("lvconvert", "--yes", "--splitsnapshot", self._full_name(name))
        except CommandFailed as error:
            if not _said(error, _NOT_A_SNAPSHOT):
                raise

    async def remove(self, name: str) -> bool:
        """Remove a logical volume, and with an origin its thick snapshots; gone already is fine.
        Answers False where it is open."""
        try:
            await self._change("lvremove", "--yes", self._full_name(name))
        except CommandFailed as error:
            if _said(error, _IN_USE):
                return False
            if not _said(error, *_NOT_FOUND):
                raise
        return True

    async def remove_unless_origin(self, name: str) -> bool:
        """Remove a logical volume unless it has thick snapshots, which lvm looks at with the
        group's lock held; gone already is fine. Answers False where it is still there."""
        select = ("--select", 'lv_role!="thickorigin"')
        try:
            await self._change("lvremove", "--yes", *select, self._full_name(name))
        except CommandFailed as error:
            if _said(error, _IN_USE):
                return False
            if not _said(error, *_NOT_FOUND):
                raise
            return True
        return name not in (await self.report()).logical_volumes

    async def _create(self, *arguments: str) -> bool:
        try:
            await self._change("lvcreate", "--yes", *arguments)
        except CommandFailed as error:
            if _said(error, _EXISTS):
                return False
            raise self._out_of_space(error) from error
        return True

    def _out_of_space(self, error: CommandFailed) -> DriverError:
        """OutOfSpace where that is what lvm said; else the error itself."""
        if not _said(error, *_NO_SPACE):
            return error
        said = " ".join(error.completed.stderr.split())
        return OutOfSpace(
            f"Volume group {self.volume_group} or its thin pool has no room for this ({said}): "
            "delete volumes, extend the pool (`lvextend -L +SIZE VG/POOL`), or add a disk "
            "(`vgextend VG DISK`)."
        )

    async def _change(self, verb: str, *arguments: str) -> None:
        async with self._turn():
            devices = self._devices
            try:
                await self._run(verb, *arguments)
            except CommandFailed as error:
                if not _said(error, f'Volume group "{self.volume_group}" not found', _MISSING):
                    raise
                await self.report()  # a disk may have been added since
                if self._devices == devices:
                    raise
                await self._run(verb, *arguments)

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """One change at a time, as lvm would have it: those that wait for its lock would take
        memory only. Raises Unavailable where the turn does not come."""
        try:
            async with asyncio.timeout(_TURN_SECONDS):
                await self._changing.acquire()
        except TimeoutError:
            raise Unavailable(
                f"Other changes of volume group {self.volume_group} have taken all of the last "
                f"{_TURN_SECONDS:g} s: call again; if it stays so, see what lvm waits for on its "
                "host."
            ) from None
        try:
            yield
        finally:
            self._changing.release()

    async def _run(self, verb: str, *arguments: str) -> None:
        await self._runner.run(
            *("lvm", verb, *self._devices, *arguments),
            where=Where.HOST,
            seconds=_CHANGE_SECONDS,
            kill=False,
        )

    def _full_name(self, name: str) -> str:
        return f"{self.volume_group}/{name}"


def _tagged(tags: Iterable[str]) -> tuple[str, ...]:
    return tuple(part for tag in tags for part in ("--addtag", tag))


def _said(error: CommandFailed, *texts: str) -> bool:
    return error.completed.code == _FAILED and any(text in error.completed.stderr for text in texts)
