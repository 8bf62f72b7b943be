"""The checks of LVM over reports that the lab does not give: full pools, lost disks."""

import json
from pathlib import Path

import pytest

from csi_lvm_iscsi.diagnosis.host import Host
from csi_lvm_iscsi.model.findings import Level
from csi_lvm_iscsi.storage.doctor.lvm import LvmChecks, _devices
from csi_lvm_iscsi.storage.doctor.pools import pool_findings
from tests.boundary import Player

REPORT = next(
    action["run"]
    for action in json.loads(
        (Path(__file__).parent / "transcripts" / "healthy-storage.json").read_text()
    )["actions"]
    if "fullreport" in action.get("run", ())
)
POOL = {
    "lv_name": "pool",
    "lv_when_full": "error",
    "lv_check_needed": "",
    "lv_health_status": "",
    "lv_metadata_size": "4194304",
    "data_percent": "10.00",
    "metadata_percent": "10.00",
}


@pytest.mark.parametrize(
    ("changed", "level", "fix"),
    [
        ({"data_percent": "85.00"}, Level.WARNING, "lvextend --extents +50%FREE vg0/pool"),
        ({"data_percent": "99.00"}, Level.ERROR, "lvextend --extents +50%FREE vg0/pool"),
        (
            {"metadata_percent": "81.00"},
            Level.WARNING,
            "lvextend --poolmetadatasize +4194304b vg0/pool",
        ),
        ({"lv_check_needed": "check needed"}, Level.ERROR, "lvconvert --yes --repair vg0/pool"),
        ({"lv_health_status": "metadata_read_only"}, Level.ERROR, "lvconvert --yes --repair"),
        ({"data_percent": "", "metadata_percent": ""}, Level.OK, ""),
    ],
)
def test_the_state_of_a_pool_is_told(changed: dict[str, str], level: Level, fix: str) -> None:
    (found,) = pool_findings("vg0", {**POOL, **changed}, zeroes=True)
    assert found.level is level
    assert fix in found.fix


GROUP = {
    "vg": [
        {
            "vg_name": "vg0",
            "vg_mda_size": "1044480",
            "vg_mda_free": "519168",
            "vg_missing_pv_count": "0",
        }
    ],
    "pv": [{"pv_name": "/dev/sdb"}],
    "lv": [],
    "seg": [],
}


async def test_each_volume_group_that_was_named_is_looked_for(tmp_path: Path) -> None:
    findings = await LvmChecks(reporting(tmp_path, {}), ["other", "vg0"]).volume_groups()
    assert [(each.check, each.level) for each in findings] == [
        ("volume group", Level.ERROR),
        ("volume group", Level.OK),
        ("metadata area", Level.OK),
    ]
    assert "other" in findings[0].found


async def test_a_host_of_thick_volumes_that_has_none_yet_is_fine_when_its_group_is_named(
    tmp_path: Path,
) -> None:
    (unnamed,) = await LvmChecks(reporting(tmp_path, {}), []).volume_groups()
    assert unnamed.level is Level.ERROR
    assert "--volume-group" in unnamed.found
    named = await LvmChecks(reporting(tmp_path, {}), ["vg0"]).volume_groups()
    assert {each.level for each in named} == {Level.OK}


async def test_a_metadata_area_that_fills_and_lost_disks_are_told(tmp_path: Path) -> None:
    state = {"vg_mda_free": "52224", "vg_missing_pv_count": "1"}
    disks, area = await LvmChecks(reporting(tmp_path, state), ["vg0"]).volume_groups()
    assert disks.level is Level.ERROR
    assert "vgextend --restoremissing vg0" in disks.fix
    assert area.level is Level.WARNING
    assert "51 KiB of 510 KiB" in area.found
    assert "pvchange --metadataignore y /dev/sdb" in area.fix


def reporting(root: Path, state: dict[str, str]) -> Host:
    """A host whose lvm reports this state of vg0."""
    group = {**GROUP, "vg": [{**GROUP["vg"][0], **state}]}
    said = {"where": "host", "code": 0, "stdout": json.dumps({"report": [group]}), "stderr": ""}
    return Host(Player([{"run": REPORT, **said}]), root=root)


def test_devices_of_volumes_are_told_from_other_logical_volumes() -> None:
    group = {
        "vg": [{"vg_name": "my-vg"}],
        "lv": [
            {"lv_name": "0123abcd-pvc-1", "lv_tags": "csi-lvm-iscsi:name=pvc-1"},
            {"lv_name": "stacked", "lv_tags": ""},
        ],
    }
    assert _devices(group) == {
        "/dev/my-vg/0123abcd-pvc-1",
        "/dev/mapper/my--vg-0123abcd--pvc--1",
    }
