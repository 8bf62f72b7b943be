"""Adoption: a logical volume that others made becomes a volume of ours, where it is, as it is."""

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from csi_lvm_iscsi.commands.runner import Runner, Where
from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.model.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
)
from csi_lvm_iscsi.storage.catalog import Catalog
from csi_lvm_iscsi.storage.devices import Devices
from csi_lvm_iscsi.storage.openers import openers
from csi_lvm_iscsi.storage.report import LogicalVolume, VolumeGroup
from csi_lvm_iscsi.storage.stored import (
    WASTE_PREFIX,
    StoredVolume,
    is_ours,
    volume_in,
    volume_tags,
)

_BLKID_SECONDS = 60.0
_NOTHING_FOUND = 2  # blkid(8)
# What Kubernetes takes as the name of an object (RFC 1123, a subdomain).
_OBJECT_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")


@dataclass(frozen=True, slots=True)
class Adopted:
    """A volume that was adopted, and the file system in it (empty: none)."""

    volume: StoredVolume
    file_system: str


class Adoption:
    """Adopts logical volumes of the volume groups of a catalog, which was read just now."""

    def __init__(self, runner: Runner, catalog: Catalog, devices: Devices, root: Path) -> None:
        """`root`: where the host's /proc and /sys are."""
        self._runner = runner
        self._catalog = catalog
        self._devices = devices
        self._root = root

    async def adopt(self, volume_group: str, logical_volume: str, name: str) -> Adopted:
        """Make a logical volume the volume of this name (empty: its own). It is tagged, and keeps
        its name and data; adopted already is fine.

        Raises NotFound without it, FailedPrecondition where it cannot be a volume or somebody has
        it open, AlreadyExists where the name is taken, InvalidArgument for a name that Kubernetes
        does not take.
        """
        group = self._catalog.group(volume_group)
        found = _find(group, logical_volume)
        volume = volume_in(group, found)
        if volume is None:
            await self._tag(group, found, name or logical_volume)
            volume = next(
                each for each in self._catalog.volumes() if each.logical_volume == logical_volume
            )
        elif name not in ("", volume.name):
            raise AlreadyExists(
                f"{volume_group}/{logical_volume} is the volume {volume.name} already: leave out "
                "--name."
            )
        else:
            await self._catalog.lvm(volume_group).allow_activation(logical_volume)
        device = await self._devices.ensure(volume_group, logical_volume)
        return Adopted(volume, await self._file_system(device.path))

    async def _tag(self, group: VolumeGroup, found: LogicalVolume, name: str) -> None:
        full_name = f"{group.name}/{found.name}"
        _check_kind(group, found)
        self._check_name(group, name)
        await self._catalog.lvm(group.name).allow_activation(found.name)
        device = await self._devices.ensure(group.name, found.name)
        if _is_read_only(Path(device.path), self._root):
            raise FailedPrecondition(
                f"{full_name} is read-only: `lvchange --permission rw {full_name}` makes it a "
                "volume that can be written, or copy it with `dd` into a new logical volume and "
                "adopt that."
            )
        if users := list(openers(Path(device.path), self._root)):
            raise FailedPrecondition(
                f"{full_name} is open: {', '.join(users)}. Detach it there first (unmount it, or "
                "delete the target that exports it), so that it has one user."
            )
        await self._catalog.lvm(group.name).add_tags(found.name, volume_tags(name, {}))
        await self._catalog.refresh()

    def _check_name(self, group: VolumeGroup, name: str) -> None:
        names.check_name(name)
        if not _OBJECT_NAME.fullmatch(name):
            raise InvalidArgument(
                f"A PersistentVolume cannot be called {name!r}: give another with --name, of small "
                "letters, digits, `-` and `.`."
            )
        volume_id = names.volume_id(group.uuid, name)
        if self._catalog.has_volume(volume_id):
            other = self._catalog.volume(volume_id).logical_volume
            raise AlreadyExists(
                f"{group.name}/{other} is the volume {name} already: give another name with --name."
            )

    async def _file_system(self, device: str) -> str:
        completed = await self._runner.run(
            *("blkid", "--probe", "--output", "value", "--match-tag", "TYPE", device),
            where=Where.HOST,
            seconds=_BLKID_SECONDS,
            expect=(0, _NOTHING_FOUND),
        )
        return completed.stdout.strip()


def manifest(adopted: Adopted, *, storage_class: str, block: bool) -> dict[str, Any]:
    """The PersistentVolume of a volume, as `kubectl apply` takes it. It is kept (Retain) when its
    claim goes: what was adopted was not made for that claim."""
    volume = adopted.volume
    source: dict[str, Any] = {"driver": names.DRIVER, "volumeHandle": volume.id}
    if not block and adopted.file_system:
        source["fsType"] = adopted.file_system
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": volume.name},
        "spec": {
            "capacity": {"storage": str(volume.size_bytes)},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": storage_class,
            "volumeMode": "Block" if block else "Filesystem",
            "csi": source,
        },
    }


def _is_read_only(device: Path, root: Path) -> bool:
    number = device.stat().st_rdev
    shown = root / f"sys/dev/block/{os.major(number)}:{os.minor(number)}/ro"
    with contextlib.suppress(FileNotFoundError):  # it was deactivated meanwhile
        return shown.read_text().strip() == "1"
    return False


def _find(group: VolumeGroup, name: str) -> LogicalVolume:
    if name in group.pools:
        raise FailedPrecondition(
            f"{group.name}/{name} is a thin pool: adopt the volumes in it, one by one."
        )
    if name not in group.logical_volumes:
        raise NotFound(f"There is no {group.name}/{name}: see `lvs {group.name}`.")
    return group.logical_volumes[name]


def _check_kind(group: VolumeGroup, found: LogicalVolume) -> None:
    """Raise FailedPrecondition unless a volume of ours could look like this."""
    wrong = ""
    if is_ours(found):
        wrong = "a snapshot of this driver's, or deleted: make a volume of the snapshot instead"
    elif found.name.startswith(WASTE_PREFIX):
        # With our tags it would be taken for deleted, and wiped.
        wrong = f"named as what is wiped: rename it (`lvrename {group.name} {found.name} NAME`)"
    elif found.thick_snapshot:
        wrong = (
            f"a copy-on-write snapshot, which is nothing without {found.origin}: copy it with `dd` "
            "into a new logical volume, and adopt that"
        )
    elif not found.plain:
        wrong = "neither thin nor linear: copy it with `dd` into one that is, and adopt that"
    elif any(
        each.thick_snapshot and each.origin == found.name for each in group.logical_volumes.values()
    ):
        wrong = "the origin of copy-on-write snapshots: remove those first"
    if wrong:
        raise FailedPrecondition(f"{group.name}/{found.name} cannot be adopted: it is {wrong}.")
