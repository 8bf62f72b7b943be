"""What the recordings of the lab do not show: hangs, other users."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from csi_lvm_iscsi.commands.runner import ProcessRunner
from csi_lvm_iscsi.diagnosis import checks, host, report
from csi_lvm_iscsi.diagnosis.host import Host
from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.model.findings import Finding, Level, error, ok
from csi_lvm_iscsi.node.doctor import iscsi
from csi_lvm_iscsi.node.doctor.bystanders import BystanderChecks
from tests.boundary import Player

MIB = 1 << 20


def host_of(root: Path, **parts: object) -> Host:
    return Host(ProcessRunner(), root=root, own=root, **parts)  # type: ignore[arg-type]


async def test_a_check_that_hangs_or_fails_is_a_finding_and_the_others_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(report, "_CHECK_SECONDS", 0.05)

    async def hangs() -> Sequence[Finding]:
        await asyncio.Event().wait()
        return []

    async def fails() -> Sequence[Finding]:
        raise KeyError("vg")

    async def works() -> Sequence[Finding]:
        return [ok("works", "it does")]

    found = await report.examine(
        host_of(tmp_path), {"hangs": hangs, "fails": fails, "works": works}
    )
    assert [(each.check, each.level) for each in found] == [
        ("hangs", Level.ERROR),
        ("fails", Level.ERROR),
        ("works", Level.OK),
    ]
    assert all(each.fix for each in found[:2])


@pytest.mark.parametrize(("user", "place"), [(1000, ""), (0, "not to be seen")])
async def test_who_may_not_see_the_host_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: int, place: str
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    (finding,) = await report.examine(host_of(tmp_path / place), {})
    assert finding.level is Level.ERROR
    assert finding.fix.startswith("sudo ")


def test_the_text_has_a_line_for_each_finding_and_for_each_fix() -> None:
    text = report.as_text([ok("clock", "synchronised"), error("tgtd", "does not run", "tgtd")])
    assert text.splitlines() == [
        "ok       clock  synchronised",
        "error    tgtd   does not run",
        "                fix: tgtd",
        "1 ok, 0 warning, 1 error",
    ]


async def test_a_host_that_lacks_everything_crashes_no_check(tmp_path: Path) -> None:
    bare = host_of(tmp_path)
    assert bare.processes() == []
    assert bare.listeners(3260) == []
    assert checks.programs(bare, "lvm2", "lvm2", "lvm").level is Level.ERROR
    assert checks.state_directory(bare, Path("/var/lib/x")).level is Level.OK


def test_a_role_is_told_from_a_doctor(tmp_path: Path) -> None:
    def run(pid: int, *argv: str) -> None:
        process = tmp_path / "proc" / str(pid)
        process.mkdir(parents=True)
        (process / "comm").write_text("python3\n")
        (process / "cmdline").write_text("".join(f"{word}\0" for word in argv))
        (process / "stat").write_text(f"{pid} (python3) S 1")

    run(5, "python3", "-m", "csi_lvm_iscsi", "doctor", "storage")
    run(6, "python3", "/usr/bin/csi-lvm-iscsi", "node", "--node-id", "storage")
    assert host_of(tmp_path).role("storage") is None
    run(7, "python3", "-m", "csi_lvm_iscsi", "storage", "--listen", "x")
    found = [host_of(tmp_path).role(name) for name in ("storage", "node")]
    assert [process.pid for process in found if process] == [7, 6]


def test_records_in_memory_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "proc" / "1").mkdir(parents=True)
    (tmp_path / "proc" / "1" / "mountinfo").write_text(
        "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:9 / /var/lib rw - tmpfs tmpfs rw\n"
    )
    found = checks.state_directory(host_of(tmp_path), Path("/var/lib/csi-lvm-iscsi"))
    assert found.level is Level.ERROR
    assert "tmpfs" in found.found
    assert checks.state_directory(host_of(tmp_path), Path("/var/lib2")).level is Level.OK


@pytest.mark.parametrize(
    ("free", "files", "level"),
    [
        (1024 * MIB, 100000, Level.OK),
        (1024 * MIB, -1, Level.OK),
        (32 * MIB, 100000, Level.WARNING),
        (1 * MIB, 100000, Level.ERROR),
        (1024 * MIB, 10, Level.WARNING),
        (1024 * MIB, 0, Level.ERROR),
    ],
)
def test_little_space_or_few_files_are_told(
    tmp_path: Path, free: int, files: int, level: Level
) -> None:
    total = 0 if files < 0 else 100000
    space = os.statvfs_result((4096, 4096, 0, 0, free // 4096, total, files, files, 0, 255))
    found = checks.free_space(host_of(tmp_path, statvfs=lambda _: space), Path("/var/lib/x"))
    assert found.level is level


@pytest.mark.parametrize(("status", "level"), [(0x2001, Level.OK), (0x41, Level.WARNING)])
def test_a_clock_that_follows_none_is_told(tmp_path: Path, status: int, level: Level) -> None:
    assert checks.clock(host_of(tmp_path, clock_status=lambda: status)).level is level


def test_the_clock_of_this_host_can_be_read() -> None:
    assert 0 <= host.clock_status() <= 0xFFFF


async def test_a_portal_is_reached_or_the_reason_told() -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    assert await host.reach(f"127.0.0.1:{port}") == ""
    server.close()
    await server.wait_closed()
    assert await host.reach(f"127.0.0.1:{port}") != ""
    assert await host.reach("no portal") != ""


async def test_an_iscsid_that_hangs_in_the_kernel_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(iscsi, "_MOVE_SECONDS", 0.1)
    process = tmp_path / "proc" / "88"
    process.mkdir(parents=True)
    (process / "comm").write_text("iscsid\n")
    (process / "stat").write_text("88 (iscsid) D 1")
    looked = iscsi.IscsiChecks(host_of(tmp_path), None)
    (finding,) = await report.examine(host_of(tmp_path), {"iscsid": looked.daemon})
    assert finding.level is Level.ERROR
    assert "process 88 waits in the kernel" in finding.found


async def test_lvm_is_not_made_to_read_the_disk_of_a_cut_session(tmp_path: Path) -> None:
    session = tmp_path / "sys" / "class" / "iscsi_session" / "session1"
    disk = session / "device" / "target2:0:0" / "2:0:0:1" / "block" / "sda"
    disk.mkdir(parents=True)
    (session / "targetname").write_text(names.target_iqn("0123abcd-pvc-1"))
    (session / "state").write_text("FAILED")
    program = tmp_path / "usr" / "sbin" / "lvm"
    program.parent.mkdir(parents=True)
    program.touch()
    looked = BystanderChecks(Host(Player([]), root=tmp_path))
    (finding,) = await looked.lvm()
    assert finding.found == "not looked at while a session is cut"


def test_the_command_ends_with_1_where_there_is_an_error() -> None:
    """On whatever host this is: its findings are not known, that they can be told is."""
    command = (sys.executable, "-m", "csi_lvm_iscsi", "doctor", "node", "--output", "json")
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    findings = json.loads(done.stdout)["findings"]
    assert done.returncode == any(each["level"] == "error" for each in findings)
