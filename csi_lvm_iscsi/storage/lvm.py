"""LVM's commands, and its report as values. The only file that knows how lvm is spoken to."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from csi_lvm_iscsi.commands.runner import CommandFailed, Runner, Where
from csi_lvm_iscsi.model.errors import DriverError, OutOfSpace

_READ_SECONDS = 60.0
# lvm that changes something is never killed: it blocks all other signals while it holds the group's
# lock, as a stop between suspend and resume would leave the pool, and all I/O on it, suspended.
_CHANGE_SECONDS = 180.0
# lvm ends with 5, ECMD_FAILED, whatever failed (lvm2, lib/commands/errors.h): the text must tell.
_FAILED = 5
_EXISTS = "already exists in volume group"
_NOT_FOUND = "Failed to find logical volume"
_IN_USE = " in use"
_SAME_SIZE = "matches existing size"
# What lvcreate says when the pool, its metadata or the group has no room.
_NO_SPACE = ("reached threshold", "insufficient free space", "Insufficient free space")

_REPORT = (
    ("vg", "vg_uuid,vg_extent_size"),
    ("pv", "pv_name"),
    ("lv", "lv_name,lv_size,lv_tags,data_percent,lv_layout,lv_when_full"),
    ("seg", "lv_name,zero"),
    ("pvseg", "pvseg_start"),
)


@dataclass(frozen=True, slots=True)
class LogicalVolume:
    """A logical volume as lvm reports it; the size in bytes."""

    name: str
    size_bytes: int
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """All of a volume group and its thin pool at one moment; sizes in bytes."""

    uuid: str
    extent_bytes: int
    physical_volumes: tuple[str, ...]
    pool_bytes: int
    pool_used_bytes: int
    pool_zeroes: bool
    pool_fails_when_full: bool
    logical_volumes: tuple[LogicalVolume, ...]


class Lvm:
    """lvm on one volume group and its thin pool. Each verb starts one process.

    After the first report lvm looks at the group's own disks only (`--devices`): never at what a
    tenant wrote into a volume, nor at iSCSI disks of this host.
    """

    def __init__(self, runner: Runner, volume_group: str, pool: str) -> None:
        self._runner = runner
        self.volume_group = volume_group
        self.pool = pool
        self._devices: tuple[str, ...] = ()

    async def report(self) -> Report:
        """Read the volume group. Raises DriverError where it or the pool is not there."""
        arguments = [part for kind, columns in _REPORT for part in _report_of(kind, columns)]
        try:
            # Not bound to the known disks: this is how a disk that was added becomes known.
            completed = await self._runner.run(
                "lvm", "fullreport", "--reportformat", "json", "--units", "b", "--nosuffix",
                "--config", "devices/scan_lvs=0", *arguments, self.volume_group,
                where=Where.HOST, seconds=_READ_SECONDS,
            )  # fmt: skip
        except CommandFailed as error:
            raise DriverError(
                f"Volume group {self.volume_group} cannot be read: "
                f"{error.completed.stderr.strip()}. Look at `vgs` and `pvs` on this host."
            ) from error
        report = _parse_report(completed.stdout, self.volume_group, self.pool)
        self._devices = tuple(
            part for name in report.physical_volumes for part in ("--devices", name)
        )
        return report

    async def create_thin(self, name: str, size_bytes: int, tags: Iterable[str]) -> bool:
        """Make a thin logical volume, active, with its tags, in one commit of the group's metadata.

        It reads as zeros: the pool zeroes each new block. Answers False where the name exists.
        """
        tagged = [part for tag in tags for part in ("--addtag", tag)]
        try:
            await self._change(
                "lvcreate", "--yes", "--type", "thin", "--thinpool", self._full_name(self.pool),
                "--virtualsize", f"{size_bytes}b", "--name", name, *tagged,
            )  # fmt: skip
        except CommandFailed as error:
            if _said(error, _EXISTS):
                return False
            if any(_said(error, text) for text in _NO_SPACE):
                said = " ".join(error.completed.stderr.split())
                raise OutOfSpace(
                    f"Thin pool {self._full_name(self.pool)} has no room for another volume "
                    f"({said}): delete volumes, or extend the pool "
                    f"(`lvextend -L +SIZE {self._full_name(self.pool)}`)."
                ) from error
            raise
        return True

    async def extend(self, name: str, size_bytes: int) -> None:
        """Make a logical volume larger; one that has the size already is left."""
        try:
            await self._change("lvextend", "--size", f"{size_bytes}b", self._full_name(name))
        except CommandFailed as error:
            if not _said(error, _SAME_SIZE):
                raise

    async def activate(self, name: str) -> None:
        """Make a logical volume active, or leave it so."""
        await self._change("lvchange", "--activate", "y", self._full_name(name))

    async def remove(self, name: str) -> bool:
        """Remove a logical volume; gone already is fine. Answers False where it is open."""
        try:
            await self._change("lvremove", "--yes", self._full_name(name))
        except CommandFailed as error:
            if _said(error, _IN_USE):
                return False
            if not _said(error, _NOT_FOUND):
                raise
        return True

    async def _change(self, verb: str, *arguments: str) -> None:
        await self._runner.run(
            *("lvm", verb, *self._devices, *arguments),
            where=Where.HOST,
            seconds=_CHANGE_SECONDS,
            kill=False,
        )

    def _full_name(self, name: str) -> str:
        return f"{self.volume_group}/{name}"


def _report_of(kind: str, columns: str) -> tuple[str, ...]:
    return ("--configreport", kind, "-o", columns)


def _said(error: CommandFailed, text: str) -> bool:
    return error.completed.code == _FAILED and text in error.completed.stderr


def _parse_report(text: str, volume_group: str, pool: str) -> Report:
    sections: dict[str, list[dict[str, Any]]] = json.loads(text)["report"][0]
    logical_volumes = {row["lv_name"]: row for row in sections["lv"]}
    zeroes = {row["lv_name"]: row["zero"] for row in sections["seg"]}
    found = logical_volumes.get(pool)
    if found is None or "pool" not in found["lv_layout"].split(","):
        raise DriverError(
            f"There is no thin pool {volume_group}/{pool}. Make it: "
            f"`lvcreate --type thin-pool --zero y -l 90%FREE -n {pool} {volume_group}`, then "
            f"`lvchange --errorwhenfull y {volume_group}/{pool}`."
        )
    group = sections["vg"][0]
    pool_bytes = int(found["lv_size"])
    return Report(
        uuid=group["vg_uuid"],
        extent_bytes=int(group["vg_extent_size"]),
        physical_volumes=tuple(row["pv_name"] for row in sections["pv"]),
        pool_bytes=pool_bytes,
        pool_used_bytes=round(pool_bytes * float(found["data_percent"] or 0) / 100),
        pool_zeroes=zeroes.get(pool) == "zero",
        pool_fails_when_full=found["lv_when_full"] == "error",
        logical_volumes=tuple(
            LogicalVolume(
                name=row["lv_name"],
                size_bytes=int(row["lv_size"]),
                tags=tuple(filter(None, row["lv_tags"].split(","))),
            )
            for row in sections["lv"]
        ),
    )
