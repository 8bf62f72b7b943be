"""The doctors over what was recorded on hosts of the lab: healthy ones, and with each ailment."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from csi_lvm_iscsi.diagnosis.host import Host
from csi_lvm_iscsi.model.findings import Finding, Level
from tests.ailments import AILMENTS, Ailment
from tests.boundary import Player
from tests.unit.diagnosis.record import diagnose

TRANSCRIPTS = Path(__file__).parent / "transcripts"
# The lab's kernels have no clock to follow.
UNAVOIDABLE = {("clock", Level.WARNING)}


def lay_out(root: Path, recording: dict[str, Any]) -> None:
    """Make the files that the host had."""
    for name, text in recording["files"].items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    for name, target in recording["links"].items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(target)


async def play(root: Path, monkeypatch: pytest.MonkeyPatch, name: str, role: str) -> list[Finding]:
    recording = json.loads((TRANSCRIPTS / f"{name}.json").read_text())
    return await play_recording(root, monkeypatch, recording, role)


async def play_recording(
    root: Path, monkeypatch: pytest.MonkeyPatch, recording: dict[str, Any], role: str
) -> list[Finding]:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    lay_out(root, recording)
    player = Player(recording["actions"])

    async def reach(portal: str) -> str:
        return str(recording["reached"][portal])

    host = Host(
        player,
        root=root,
        own=root,
        clock_status=lambda: int(recording["clock"]),
        reach=reach,
        statvfs=lambda _: os.statvfs_result(recording["statvfs"]),
    )
    findings = await diagnose(host, player, role, recording["options"])
    assert player.left() == []
    return findings


def wrong(findings: list[Finding]) -> set[tuple[str, Level]]:
    return {(each.check, each.level) for each in findings if each.level is not Level.OK}


@pytest.mark.parametrize("role", ["storage", "node"])
async def test_a_healthy_host_is_told_to_be_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    findings = await play(tmp_path, monkeypatch, f"healthy-{role}", role)
    assert wrong(findings) == UNAVOIDABLE


@pytest.mark.parametrize("ailment", AILMENTS, ids=lambda each: each.name)
async def test_an_ailment_is_found_with_its_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ailment: Ailment
) -> None:
    findings = await play(tmp_path, monkeypatch, ailment.name, ailment.role)
    (found,) = [each for each in findings if each.check == ailment.check and each.fix]
    assert found.level is ailment.level
    assert ailment.says in found.found
    assert ailment.fix in found.fix
    assert wrong(findings) == {(ailment.check, ailment.level), *ailment.also, *UNAVOIDABLE}


async def test_a_disk_that_the_role_storage_borrows_is_none_of_the_nodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = json.loads((TRANSCRIPTS / "session-left.json").read_text())
    assert recording["actions"].pop()["run"][:2] == ["lvm", "pvs"]  # only where a disk is ours
    files = recording["files"]
    for name in list(files):
        if name.endswith("/initiatorname"):
            files[name] = "iqn.2026-11.io.github.csi-lvm-iscsi:node.storage-1\n"
            files[name.replace("/initiatorname", "/ifacename")] = "csi-lvm-iscsi-storage\n"
        elif "/nodes/" in name:
            ours = "iface.iscsi_ifacename = csi-lvm-iscsi"
            assert f"{ours}\n" in files[name]
            files[name] = files[name].replace(f"{ours}\n", f"{ours}-storage\n")
    assert wrong(await play_recording(tmp_path, monkeypatch, recording, "node")) == UNAVOIDABLE


async def test_a_shared_volume_that_is_staged_is_none_left_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each node has a target of its own then; the fix would log the volume out under its pods."""
    recording = json.loads((TRANSCRIPTS / "record-automatic.json").read_text())
    (record,) = [name for name in recording["files"] if "/nodes/iqn" in name]
    target = Path(record).parent.name
    recording["files"] = {
        name.replace(target, f"{target}:compute-1"): text.replace(target, f"{target}:compute-1")
        for name, text in recording["files"].items()
    }
    findings = await play_recording(tmp_path, monkeypatch, recording, "node")
    assert wrong(findings) == {("records", Level.ERROR), *UNAVOIDABLE}
    assert f"{target}:compute-1 " in "".join(each.fix for each in findings)


async def test_a_database_in_red_hats_place_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its package has /etc/iscsi, too, with iscsid.conf in it."""
    recording = json.loads((TRANSCRIPTS / "healthy-node.json").read_text())
    recording["files"] = {
        name.replace("etc/iscsi/nodes", "var/lib/iscsi/nodes"): text
        for name, text in recording["files"].items()
    }
    (tmp_path / "var/lib/iscsi/nodes").mkdir(parents=True, exist_ok=True)
    findings = await play_recording(tmp_path, monkeypatch, recording, "node")
    (found,) = [each for each in findings if each.check == "open-iscsi"]
    assert (found.level, "in /var/lib/iscsi" in found.found) == (Level.ERROR, True)
