"""The checks of tgtd over what the lab does not show: hangs, systemd, the chart's containers."""

import asyncio
from pathlib import Path

import pytest

from csi_lvm_iscsi.commands.runner import ProcessRunner
from csi_lvm_iscsi.diagnosis.host import Host
from csi_lvm_iscsi.model.findings import Finding, Level
from csi_lvm_iscsi.storage.doctor import tgt
from csi_lvm_iscsi.storage.tgt.socket import SOCKET, ManagementSocket
from tests.boundary import Player


def host_of(root: Path) -> Host:
    return Host(ProcessRunner(), root=root, own=root)


def runs(root: Path, pid: int, name: str, *argv: str) -> Path:
    process = root / "proc" / str(pid)
    process.mkdir(parents=True)
    (process / "comm").write_text(f"{name}\n")
    (process / "cmdline").write_text("".join(f"{word}\0" for word in argv))
    (process / "stat").write_text(f"{pid} ({name}) S 1")
    return process


def in_container(root: Path) -> None:
    """Have the doctor run in another mount namespace than process 1."""
    for process, namespace in (("1", "mnt:[1]"), ("self", "mnt:[2]")):
        names = root / "proc" / process / "ns"
        names.mkdir(parents=True)
        (names / "mnt").symlink_to(namespace)


async def test_a_tgtd_that_does_not_answer_is_found_in_bounded_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tgt, "_ANSWER_SECONDS", 0.1)
    runs(tmp_path, 77, "tgtd", "tgtd", "-f")
    silent = asyncio.Event()

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await silent.wait()
        writer.close()

    server = await asyncio.start_unix_server(accept, tmp_path / "socket")
    found = tgt.TgtChecks(host_of(tmp_path), ManagementSocket(tmp_path / "socket"))
    (finding,) = await found.daemon()
    assert finding.level is Level.ERROR
    assert finding.fix == "kill -9 77"
    assert list(await found.portals()) == []
    silent.set()
    server.close()
    await server.wait_closed()


def test_tgtd_is_asked_where_it_runs_also_in_a_container_of_its_own(tmp_path: Path) -> None:
    """Asked elsewhere it did not answer, and the fix was to kill it."""
    assert tgt.management_socket(host_of(tmp_path)) == SOCKET
    own = runs(tmp_path, 77, "tgtd") / "root" / "run" / "tgtd" / "socket.0"
    own.parent.mkdir(parents=True)
    assert tgt.management_socket(host_of(tmp_path)) == SOCKET
    own.touch()
    assert tgt.management_socket(host_of(tmp_path)) == own


@pytest.mark.parametrize("installed", [False, True])
async def test_before_the_chart_is_installed_no_tgtd_is_asked_for(
    tmp_path: Path, *, installed: bool
) -> None:
    """From a debug pod it asked for the package, or to start a tgtd, which docs/install.md
    forbids."""
    if installed:
        (tmp_path / "usr" / "sbin").mkdir(parents=True)
        (tmp_path / "usr" / "sbin" / "tgtd").touch()
    in_container(tmp_path)
    finding = await daemon_finding(tmp_path)
    assert (finding.level, finding.found) == (Level.OK, "does not run yet: the chart brings it")


async def test_a_tgtd_of_the_chart_that_ended_is_an_error_of_its_pod(tmp_path: Path) -> None:
    in_container(tmp_path)
    runs(tmp_path, 5, "csi-lvm-iscsi", "python3", "/usr/bin/csi-lvm-iscsi", "storage", "--listen=x")
    finding = await daemon_finding(tmp_path)
    assert finding.level is Level.ERROR
    assert "csi-lvm-iscsi-tgtd" in finding.found
    assert "apt-get" not in finding.fix


async def test_outside_of_containers_tgtd_is_to_be_installed(tmp_path: Path) -> None:
    finding = await daemon_finding(tmp_path)
    assert (finding.level, finding.fix) == (Level.ERROR, "apt-get install --yes tgt")


async def daemon_finding(root: Path) -> Finding:
    (finding,) = await tgt.TgtChecks(host_of(root), ManagementSocket()).daemon()
    return finding


# What `systemctl show` tells of Debian's unit: a line for each command, of one name. Written by
# hand after systemctl(1): the lab has no systemd.
DEBIANS_UNIT = """\
MainPID=77
ActiveState=active
UnitFileState=enabled
ExecStartPost={ path=/usr/sbin/tgt-admin ; argv[]=/usr/sbin/tgt-admin -e -c /etc/tgt/targets.conf }
ExecStartPost={ path=/usr/sbin/tgtadm ; argv[]=/usr/sbin/tgtadm --op update --mode sys }
ExecStop={ path=/usr/sbin/tgt-admin ; argv[]=/usr/sbin/tgt-admin --offline ALL }
ExecStop={ path=/usr/sbin/tgtadm ; argv[]=/usr/sbin/tgtadm --op delete --mode system }
"""


@pytest.mark.parametrize(
    ("shown", "level", "fix"),
    [
        (DEBIANS_UNIT, Level.WARNING, "systemctl daemon-reload && systemctl restart tgt"),
        (DEBIANS_UNIT.replace("77", "0"), Level.ERROR, "systemctl disable --now tgt.service"),
        (DEBIANS_UNIT.replace("tgt-admin", "true"), Level.OK, ""),
        ("LoadState=not-found\nActiveState=inactive\n", Level.OK, ""),
    ],
)
async def test_debians_unit_of_tgtd_is_told(
    tmp_path: Path, shown: str, level: Level, fix: str
) -> None:
    runs(tmp_path, 77, "tgtd")
    finding = await unit_finding(tmp_path, shown)
    assert finding.level is level
    assert fix in finding.fix


async def test_debians_unit_is_to_be_disabled_where_the_chart_brings_tgtd(tmp_path: Path) -> None:
    """The fix elsewhere is to change it, and to start it."""
    in_container(tmp_path)
    runs(tmp_path, 77, "tgtd")
    finding = await unit_finding(tmp_path, DEBIANS_UNIT)
    assert finding.level is Level.ERROR
    assert finding.fix == "systemctl disable --now tgt.service"


async def unit_finding(root: Path, shown: str) -> Finding:
    """What is found where systemd shows this of the unit."""
    (root / "run" / "systemd" / "system").mkdir(parents=True)
    command = {"run": ["systemctl", "show", "tgt.service"], "where": "host", "code": 0}
    player = Player([{**command, "stdout": shown, "stderr": ""}])
    (finding,) = await tgt.TgtChecks(Host(player, root=root, own=root), player).unit()
    return finding
