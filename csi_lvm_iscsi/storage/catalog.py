"""What there is on this host: a copy of LVM's report, which makes finding a volume cost no process.

It is read at start and each minute, and again whenever lvm contradicts it.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Sequence
from dataclasses import replace

from csi_lvm_iscsi.model.errors import DriverError, NotFound, Unavailable
from csi_lvm_iscsi.storage.lvm import Lvm
from csi_lvm_iscsi.storage.report import LogicalVolume, ThinPool, VolumeGroup
from csi_lvm_iscsi.storage.stored import (
    StoredSnapshot,
    StoredVolume,
    is_waste,
    snapshot_in,
    volume_in,
)

_FRESH_SECONDS = 5.0


class Catalog:
    """The volume groups of this host, and the volumes and snapshots in them."""

    def __init__(self, host: str, lvms: Sequence[Lvm]) -> None:
        self._host = host
        self._lvms = {lvm.volume_group: lvm for lvm in lvms}
        self._groups: dict[str, VolumeGroup] = {}
        self._changes = 0
        # The number of the last change of each logical volume, by group and name.
        self._changed: dict[tuple[str, str], int] = {}
        self._reading = asyncio.Lock()
        self._looked_for = 0.0
        self._looking: asyncio.Task[None] | None = None
        self._volumes: dict[str, StoredVolume] = {}
        self._snapshots: dict[str, StoredSnapshot] = {}

    async def refresh(self) -> None:
        """Read LVM's reports. Raises DriverError where one cannot be read.

        A report that was under way while something was changed may be older than that: of what
        was changed since it began, what we remember counts. One at a time, so that an older report
        never comes last.
        """
        async with self._reading:
            began = self._changes
            reports = [await lvm.report() for lvm in self._lvms.values()]
            groups = {each.name: self._with_changes(each, began) for each in reports}
            self._changed = {key: at for key, at in self._changed.items() if at > began}
            self._groups, self._volumes, self._snapshots = groups, {}, {}
            for group in groups.values():
                for each in group.logical_volumes.values():
                    self._note(group, each)

    def _with_changes(self, group: VolumeGroup, began: int) -> VolumeGroup:
        """A report, with what was changed here since it began."""
        logical_volumes, free = dict(group.logical_volumes), group.free_bytes
        for (volume_group, name), at in self._changed.items():
            if volume_group != group.name or at <= began:
                continue
            reported = logical_volumes.pop(name, None)
            remembered = self._groups[group.name].logical_volumes.get(name)
            if remembered is not None:
                logical_volumes[name] = remembered
            free += (_extents(reported) if reported else 0) - (
                _extents(remembered) if remembered else 0
            )
        return replace(group, logical_volumes=logical_volumes, free_bytes=free)

    async def look_for(self, stored_id: str) -> None:
        """Read the reports again, though not often, for an id that is unknown: it may be of a
        logical volume that was adopted since."""
        if stored_id in self._volumes or stored_id in self._snapshots:
            return
        now = asyncio.get_running_loop().time()
        if self._looking is None or (
            self._looking.done() and now >= self._looked_for + _FRESH_SECONDS
        ):
            self._looked_for = now
            self._looking = asyncio.create_task(self.refresh())
        # Also who comes while it is read: it would not be found.
        await asyncio.shield(self._looking)

    def lvm(self, volume_group: str) -> Lvm:
        """The commands on a volume group of this host. Raises NotFound."""
        try:
            return self._lvms[volume_group]
        except KeyError:
            raise NotFound(
                f"Storage host {self._host} serves no volume group {volume_group}: see its options "
                "--thin-pool and --thick."
            ) from None

    def groups(self) -> list[VolumeGroup]:
        """All volume groups. Raises Unavailable before the first report."""
        return [self.group(name) for name in self._lvms]

    def group(self, volume_group: str) -> VolumeGroup:
        """A volume group. Raises NotFound, or Unavailable before the first report."""
        self.lvm(volume_group)
        try:
            return self._groups[volume_group]
        except KeyError:
            raise Unavailable(
                f"Storage host {self._host} is still reading its volume groups."
            ) from None

    def pool(self, volume_group: str, thin_pool: str) -> ThinPool:
        """A thin pool. Raises NotFound."""
        try:
            return self.group(volume_group).pools[thin_pool]
        except KeyError:
            full_name = f"{volume_group}/{thin_pool}"
            raise NotFound(
                f"There is no thin pool {full_name} on storage host {self._host}. Make it: "
                f"`lvcreate --type thin-pool --zero y -l 90%FREE -n {thin_pool} {volume_group}`, "
                f"then `lvchange --errorwhenfull y {full_name}`."
            ) from None

    def volumes(self) -> list[StoredVolume]:
        """All volumes, in the order of their ids."""
        return [self._volumes[key] for key in sorted(self._volumes)]

    def volume(self, volume_id: str) -> StoredVolume:
        """One volume. Raises NotFound."""
        try:
            return self._volumes[volume_id]
        except KeyError:
            raise NotFound(
                f"There is no volume {volume_id} on storage host {self._host}."
            ) from None

    def has_volume(self, volume_id: str) -> bool:
        """Whether there is such a volume."""
        return volume_id in self._volumes

    def snapshots(self) -> list[StoredSnapshot]:
        """All snapshots, in the order of their ids; also our own."""
        return [self._snapshots[key] for key in sorted(self._snapshots)]

    def snapshot(self, snapshot_id: str) -> StoredSnapshot:
        """One snapshot. Raises NotFound."""
        try:
            return self._snapshots[snapshot_id]
        except KeyError:
            raise NotFound(
                f"There is no snapshot {snapshot_id} on storage host {self._host}."
            ) from None

    def has_snapshot(self, snapshot_id: str) -> bool:
        """Whether there is such a snapshot."""
        return snapshot_id in self._snapshots

    def waste(self) -> list[tuple[VolumeGroup, LogicalVolume]]:
        """The logical volumes that wait to be wiped, with their groups."""
        return [
            (group, each)
            for group in self._groups.values()
            for each in group.logical_volumes.values()
            if is_waste(each)
        ]

    def thick_snapshots_of(self, volume_group: str, logical_volume: str) -> list[LogicalVolume]:
        """The copy-on-write snapshots of a logical volume, which cannot do without it."""
        return [
            each
            for each in self.group(volume_group).logical_volumes.values()
            if each.thick_snapshot and each.origin == logical_volume
        ]

    def note_use(self, volume_group: str, used: ThinPool) -> None:
        """Take note of how full a pool is now."""
        group = self.group(volume_group)
        self._groups[volume_group] = replace(group, pools={**group.pools, used.name: used})

    def put(self, volume_group: str, logical_volume: LogicalVolume) -> None:
        """Take note of a logical volume that was made or changed."""
        group = self.group(volume_group)
        known = group.logical_volumes.get(logical_volume.name)
        taken = _extents(logical_volume) - (_extents(known) if known else 0)
        self._replace(group, {logical_volume.name: logical_volume}, taken)

    async def make(
        self, volume_group: str, making: Awaitable[bool], logical_volume: LogicalVolume | None
    ) -> None:
        """Run the command that makes a logical volume, and take note of it. `making` tells whether
        it was made now, and not before; `logical_volume` is None where only lvm knows its size.
        Raises what the command does."""
        try:
            is_new = await making
        except DriverError:
            with contextlib.suppress(DriverError):  # the first error is what the caller acts on
                await self.refresh()  # it may have been made all the same
            raise
        if is_new and logical_volume is not None:
            self.put(volume_group, logical_volume)
        else:
            await self.refresh()

    def rename(self, volume_group: str, name: str, new: str) -> None:
        """Take note of a new name; thick snapshots go with their origin."""
        group = self.group(volume_group)
        changed = {
            each.name: replace(each, origin=new)
            for each in group.logical_volumes.values()
            if each.origin == name
        }
        if (known := group.logical_volumes.get(name)) is not None:
            changed[new] = replace(known, name=new)
        self._replace(group, changed, 0, gone=name)

    def drop(self, volume_group: str, name: str) -> None:
        """Take note of a logical volume that is gone."""
        group = self.group(volume_group)
        if (gone := group.logical_volumes.get(name)) is not None:
            self._replace(group, {}, -_extents(gone), gone=name)

    def _replace(
        self,
        group: VolumeGroup,
        changed: dict[str, LogicalVolume],
        taken: int,
        gone: str | None = None,
    ) -> None:
        self._forget(group, gone)
        logical_volumes = {**group.logical_volumes, **changed}
        logical_volumes.pop(gone or "", None)
        group = self._groups[group.name] = replace(
            group, logical_volumes=logical_volumes, free_bytes=group.free_bytes - taken
        )
        self._changes += 1
        for each in changed.values():
            self._note(group, each)
        for name in (*changed, *([gone] if gone else [])):
            self._changed[group.name, name] = self._changes

    def _note(self, group: VolumeGroup, logical_volume: LogicalVolume) -> None:
        if (volume := volume_in(group, logical_volume)) is not None:
            self._volumes[volume.id] = volume
        if (snapshot := snapshot_in(group, logical_volume)) is not None:
            self._snapshots[snapshot.id] = snapshot

    def _forget(self, group: VolumeGroup, name: str | None) -> None:
        if (known := group.logical_volumes.get(name or "")) is None:
            return
        if (volume := volume_in(group, known)) is not None:
            self._volumes.pop(volume.id, None)
        if (snapshot := snapshot_in(group, known)) is not None:
            self._snapshots.pop(snapshot.id, None)


def _extents(logical_volume: LogicalVolume) -> int:
    """What it takes of the volume group: a thin one takes of its pool."""
    return 0 if logical_volume.thin_pool else logical_volume.size_bytes
