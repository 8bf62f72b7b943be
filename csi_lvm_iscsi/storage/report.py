"""What LVM reports of a volume group, as values. Sizes are bytes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_LV_COLUMNS = (
    "lv_name,lv_size,lv_tags,lv_layout,lv_role,pool_lv,origin,data_percent,metadata_percent,"
    "lv_metadata_size,lv_when_full"
)
COLUMNS = (
    ("vg", "vg_uuid,vg_extent_size,vg_size,vg_free"),
    ("pv", "pv_name"),
    ("lv", _LV_COLUMNS),
    ("seg", "lv_name,zero"),
    ("pvseg", "pvseg_start"),
)
"""The columns of `lvm fullreport` that `parse` reads, by kind of report."""


@dataclass(frozen=True, slots=True)
class LogicalVolume:
    """A logical volume."""

    name: str
    size_bytes: int
    """Of a thick snapshot: of its copy-on-write store."""

    tags: tuple[str, ...]
    thin_pool: str = ""
    """The pool that it is in; empty: it is made of extents."""

    origin: str = ""
    """Of a snapshot: the logical volume it was taken of, while there is one of that name."""

    thick_snapshot: bool = False
    """Whether it is a copy-on-write store, useless without its origin."""

    plain: bool = True
    """Whether it is thin or linear: not striped, mirrored, cached or the like."""


@dataclass(frozen=True, slots=True)
class ThinPool:
    """A thin pool."""

    name: str
    size_bytes: int
    metadata_bytes: int
    data_percent: float
    metadata_percent: float
    zeroes: bool
    """Whether it zeroes each block before it gives it to a volume."""

    fails_when_full: bool
    """Whether writes fail at once when it is full."""


@dataclass(frozen=True, slots=True)
class VolumeGroup:
    """All of a volume group at one moment."""

    name: str
    uuid: str
    extent_bytes: int
    size_bytes: int
    free_bytes: int
    physical_volumes: tuple[str, ...]
    pools: Mapping[str, ThinPool]
    logical_volumes: Mapping[str, LogicalVolume]
    """All but pools and hidden ones, by name."""


def parse(text: str, name: str) -> VolumeGroup:
    """Read the output of `lvm fullreport --reportformat json --units b --nosuffix`."""
    sections: dict[str, list[dict[str, Any]]] = json.loads(text)["report"][0]
    zeroes = {row["lv_name"]: row["zero"] for row in sections["seg"]}
    group = sections["vg"][0]
    pools = {
        row["lv_name"]: _pool(row, zeroes=zeroes.get(row["lv_name"]) == "zero")
        for row in sections["lv"]
        if _is_pool(row)
    }
    return VolumeGroup(
        name=name,
        uuid=group["vg_uuid"],
        extent_bytes=int(group["vg_extent_size"]),
        size_bytes=int(group["vg_size"]),
        free_bytes=int(group["vg_free"]),
        physical_volumes=tuple(row["pv_name"] for row in sections["pv"]),
        pools=pools,
        logical_volumes={
            row["lv_name"]: _logical_volume(row) for row in sections["lv"] if not _is_pool(row)
        },
    )


def _is_pool(row: Mapping[str, str]) -> bool:
    return "pool" in row["lv_layout"].split(",")


def _pool(row: Mapping[str, str], *, zeroes: bool) -> ThinPool:
    return ThinPool(
        name=row["lv_name"],
        size_bytes=int(row["lv_size"]),
        metadata_bytes=int(row["lv_metadata_size"]),
        data_percent=float(row["data_percent"] or 0),
        metadata_percent=float(row["metadata_percent"] or 0),
        zeroes=zeroes,
        fails_when_full=row["lv_when_full"] == "error",
    )


def _logical_volume(row: Mapping[str, str]) -> LogicalVolume:
    return LogicalVolume(
        name=row["lv_name"],
        size_bytes=int(row["lv_size"]),
        tags=tuple(filter(None, row["lv_tags"].split(","))),
        thin_pool=row["pool_lv"],
        origin=row["origin"],
        thick_snapshot="thicksnapshot" in row["lv_role"].split(","),
        plain=not {"thin", "linear"}.isdisjoint(row["lv_layout"].split(",")),
    )
