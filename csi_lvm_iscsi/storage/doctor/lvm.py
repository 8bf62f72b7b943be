"""LVM: programs, volume groups, thin pools, and what its configuration lets it look into."""

import json
import re
from collections.abc import Sequence
from typing import Any

from csi_lvm_iscsi.commands.runner import Completed
from csi_lvm_iscsi.diagnosis import checks
from csi_lvm_iscsi.diagnosis.host import Host
from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.model.errors import DriverError
from csi_lvm_iscsi.model.findings import Finding, error, ok, warning
from csi_lvm_iscsi.model.sizes import human
from csi_lvm_iscsi.storage.doctor.pools import pool_findings

_TAG = "csi-lvm-iscsi:"
_OLDEST = (2, 3, 12)  # the first with --devices (lvm2, WHATS_NEW)
_LOW_METADATA = 0.2
_LOCAL = "/etc/lvm/lvmlocal.conf"
_MAKE = (
    "vgcreate vg0 /dev/DISK && lvcreate --type thin-pool --zero y --extents 90%FREE --name pool "
    "vg0 && lvchange --errorwhenfull y vg0/pool"
)
_NOTHING_OURS = (
    "there is no volume group with volumes or a thin pool on this host; one that is for thick "
    "volumes, and has none yet, is looked at with --volume-group"
)
_VOLUME = (
    *("lv_name", "lv_layout", "lv_tags", "pool_lv", "data_percent", "metadata_percent"),
    *("lv_when_full", "lv_check_needed", "lv_health_status", "lv_metadata_size"),
)
_REPORT = (
    ("vg", "vg_name,vg_mda_size,vg_mda_free,vg_missing_pv_count"),
    ("pv", "pv_name"),
    ("lv", ",".join(_VOLUME)),
    ("seg", "lv_name,zero"),
    ("pvseg", "pvseg_start"),
)
_SETTINGS = ("devices/scan_lvs", "activation/thin_pool_autoextend_threshold")

Row = dict[str, Any]
Group = dict[str, list[Row]]


class LvmChecks:
    """The checks of LVM. They use the host's configuration of it, unlike the role, as that is
    what the host's own tools do."""

    def __init__(self, host: Host, volume_groups: Sequence[str]) -> None:
        self._host = host
        self._named = tuple(volume_groups)
        self._read: list[Group] | None = None

    async def programs(self) -> Sequence[Finding]:
        """Lvm new enough, and what it starts for a thin pool."""
        lvm = checks.programs(self._host, "lvm2", "lvm2", "lvm")
        tools = checks.programs(
            self._host, "thin tools", "thin-provisioning-tools", "thin_check", "thin_repair"
        )
        if lvm.fix:
            return [lvm, tools]
        said = (await self._host.run("lvm", "version")).stdout
        version = re.search(r"LVM version:\s*(\d+)\.(\d+)\.(\d+)", said)
        if version is None:
            return [error("lvm2", f"lvm does not tell its version: {said.strip()}", "lvm version")]
        text = f"version {version[1]}.{version[2]}.{version[3]}"
        if tuple(map(int, version.groups())) < _OLDEST:
            return [
                error("lvm2", f"{text}: the driver needs 2.03.12", "apt-get install --yes lvm2"),
                tools,
            ]
        return [ok("lvm2", text), tools]

    async def modules(self) -> Sequence[Finding]:
        """The targets of device-mapper."""
        return [await checks.modules(self._host, "dm_mod", "dm_thin_pool", "dm_snapshot")]

    async def volume_groups(self) -> Sequence[Finding]:
        """The volume groups that volumes are in, and their thin pools."""
        groups = self._chosen(await self._groups())
        missing = set(self._named) - {group["vg"][0]["vg_name"] for group in groups}
        findings = [
            error("volume group", f"there is no volume group {which} on this host", _MAKE)
            for which in sorted(missing)
        ]
        if not groups and not missing:
            findings = [error("volume group", _NOTHING_OURS, _MAKE)]
        for group in groups:
            findings += [_disks(group), _metadata_area(group)]
            for pool in _pools(group):
                zeroes = any(
                    row["lv_name"] == pool["lv_name"] and row["zero"] == "zero"
                    for row in group["seg"]
                )
                findings += pool_findings(group["vg"][0]["vg_name"], pool, zeroes=zeroes)
        return findings

    async def configuration(self) -> Sequence[Finding]:
        """What of the configuration is in the driver's way."""
        settings = await self._settings()
        findings = []
        if settings["scan_lvs"] != "0":
            findings.append(
                warning(
                    "scan_lvs",
                    "the host's LVM looks into volumes: it would take over what a guest made there",
                    _set("devices/scan_lvs = 0"),
                )
            )
        threshold = settings["thin_pool_autoextend_threshold"]
        if threshold.isdigit() and int(threshold) < 100:
            findings.append(
                warning(
                    "autoextend",
                    f"dmeventd extends thin pools by itself at {threshold} %, beside the driver",
                    _set("activation/thin_pool_autoextend_threshold = 100"),
                )
            )
        return findings or [ok("lvm.conf", "LVM does not look into volumes, nor extend pools")]

    async def guests(self) -> Sequence[Finding]:
        """Physical volumes that guests made in their volumes, and that this host's LVM has seen."""
        completed = _succeeded(
            await self._host.run(
                *("lvm", "pvs", "--reportformat", "json", "--options", "pv_name,vg_name,vg_uuid")
            )
        )
        rows: list[Row] = json.loads(completed.stdout)["report"][0]["pv"]
        ours = set[str]().union(*map(_devices, await self._groups()))
        nested = [row for row in rows if row["pv_name"] in ours]
        if not nested:
            return [ok("LVM and guests", "no volume is a physical volume to this host")]
        # Deactivated first: once LVM does not look there any more, it cannot be.
        uuids = sorted({row["vg_uuid"] for row in nested if row["vg_uuid"]})
        deactivate = "".join(f"vgchange --activate n --select vg_uuid={uuid} && " for uuid in uuids)
        return [
            error(
                "LVM and guests",
                f"{', '.join(row['pv_name'] for row in nested)}: a guest's physical volume, which "
                "this host uses as its own; it could change the guest's data",
                f"{deactivate}{_set('devices/scan_lvs = 0')}",
            )
        ]

    async def _groups(self) -> list[Group]:
        """Lvm's report of all volume groups, read once."""
        if self._read is None:
            self._read = await self._report()
        return self._read

    async def _report(self) -> list[Group]:
        arguments = [
            word for kind, columns in _REPORT for word in ("--configreport", kind, "-o", columns)
        ]
        completed = _succeeded(
            await self._host.run(
                *("lvm", "fullreport", "--reportformat", "json", "--units", "b", "--nosuffix"),
                *arguments,
            )
        )
        report: list[Group] = json.loads(completed.stdout)["report"]
        return [group for group in report if group.get("vg")]

    def _chosen(self, groups: Sequence[Group]) -> list[Group]:
        if self._named:
            return [group for group in groups if group["vg"][0]["vg_name"] in self._named]
        ours = [group for group in groups if any(map(_is_ours, group["lv"]))]
        return ours or [group for group in groups if any(map(_is_pool, group["lv"]))]

    async def _settings(self) -> dict[str, str]:
        completed = _succeeded(
            await self._host.run("lvm", "lvmconfig", "--typeconfig", "full", *_SETTINGS)
        )
        pairs = (line.partition("=") for line in completed.stdout.splitlines())
        return {name.strip(): value.strip() for name, _, value in pairs}


def _succeeded(completed: Completed) -> Completed:
    if completed.code != 0:
        raise DriverError(f"`{completed.command}` failed: {completed.stderr.strip()}")
    return completed


def _set(setting: str) -> str:
    """The command that overrides a setting (lvm.conf(5): lvmlocal.conf is read last)."""
    return f"echo '{setting}' >> {_LOCAL}"


def _is_ours(row: Row) -> bool:
    return any(tag.startswith(_TAG) for tag in row["lv_tags"].split(","))


def _is_pool(row: Row) -> bool:
    return str(row["lv_layout"]) == "thin,pool"


def _pools(group: Group) -> list[Row]:
    """The thin pools that hold volumes, or all of the group where none does."""
    used = {row["pool_lv"] for row in group["lv"] if _is_ours(row)}
    pools = [row for row in group["lv"] if _is_pool(row)]
    return [row for row in pools if row["lv_name"] in used] or pools


def _devices(group: Group) -> set[str]:
    """What lvm may call the devices of the volumes of a group."""
    name = group["vg"][0]["vg_name"]
    volumes = [row["lv_name"] for row in group["lv"] if _is_ours(row)]
    mapped = {f"/dev/mapper/{names.device_mapper_name(name, volume)}" for volume in volumes}
    return mapped | {f"/dev/{name}/{volume}" for volume in volumes}


def _disks(group: Group) -> Finding:
    row = group["vg"][0]
    name = row["vg_name"]
    missing = int(row["vg_missing_pv_count"])
    if missing:
        return error(
            "volume group",
            f"{name} lacks {missing} of its disks: bring them back, then tell LVM",
            f"pvs && vgextend --restoremissing {name} /dev/DISK",
        )
    return ok("volume group", f"{name} has all of its {len(group['pv'])} disks")


def _metadata_area(group: Group) -> Finding:
    """Each logical volume takes room in the group's metadata area, which cannot grow in place."""
    row = group["vg"][0]
    name = row["vg_name"]
    # Half of it is for the next version of the metadata: of an empty group half is shown as free.
    room, free = int(row["vg_mda_size"]) // 2, int(row["vg_mda_free"])
    found = f"of {name}: {human(free)} of {human(room)} free"
    if free >= room * _LOW_METADATA:
        return ok("metadata area", found)
    ignored = " ".join(each["pv_name"] for each in group["pv"])
    return warning(
        "metadata area",
        f"{found}: soon no volume can be made; a new disk can bring a larger one",
        f"pvcreate --metadatasize 64m /dev/DISK && vgextend {name} /dev/DISK && "
        f"pvchange --metadataignore y {ignored}",
    )
