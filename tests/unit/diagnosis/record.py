"""Runs the doctor on this host and writes what it saw: `python -m tests.unit.diagnosis.record
storage|node [OPTION VALUE]`. It is run in the lab, by tests/e2e/test_doctor.py --record."""

import argparse
import asyncio
import contextlib
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from csi_lvm_iscsi.commands.runner import ProcessRunner
from csi_lvm_iscsi.diagnosis.host import Host, clock_status, reach
from csi_lvm_iscsi.model.findings import Finding
from csi_lvm_iscsi.node import doctor as node_doctor
from csi_lvm_iscsi.rpc import logs
from csi_lvm_iscsi.storage import doctor as storage_doctor
from csi_lvm_iscsi.storage.tgt.socket import Management, ManagementSocket
from tests.boundary import Recorder

STATE = Path("/var/lib/csi-lvm-iscsi")
# What the doctors read of a host; of the processes only these.
PROCESSES = ("tgtd", "iscsid", "systemd-udevd", "multipathd", "python")
PLACES = (
    "etc/machine-id", "etc/iscsi/*", "etc/iscsi/ifaces/*", "etc/iscsi/nodes/*/*",
    "proc/1/net/tcp", "proc/1/net/tcp6", "proc/1/net/unix", "proc/1/mountinfo",
    "proc/sys/kernel/hostname",
    "run/udev/rules.d/*", "run/udev/data/b8:*",
    "sys/module/dm_*/refcnt", "sys/module/iscsi_tcp/refcnt", "sys/module/sd_mod/refcnt",
    "sys/class/iscsi_session/*/targetname", "sys/class/iscsi_session/*/state",
    "sys/class/iscsi_session/*/initiatorname", "sys/class/iscsi_session/*/ifacename",
    "sys/class/iscsi_session/*/device/target*/*:*/block/*/dev",
    "sys/class/iscsi_connection/*/persistent_*",
    "sys/class/block/*/dev", "sys/class/block/*/dm/uuid", "sys/class/block/sd*/holders/*/dev",
    "var/lib/csi-lvm-iscsi/*/*.json",
    *(f"usr/*bin/{program}" for program in (
        "lvm", "thin_check", "thin_repair", "tgtd", "iscsiadm", "iscsid", "mkfs.ext4", "e2fsck",
        "resize2fs", "mkfs.xfs", "xfs_repair", "xfs_growfs", "blkid", "mount", "umount",
    )),
)  # fmt: skip
SECRET = re.compile(r"(password\S* = ).*")


async def diagnose(
    host: Host, management: Management, role: str, options: dict[str, Any]
) -> list[Finding]:
    if role == "storage":
        return await storage_doctor.diagnose(
            host, management, options.get("volume_group", []), STATE
        )
    return await node_doctor.diagnose(host, None, options.get("portal", []), STATE)


async def record(role: str, options: dict[str, Any]) -> dict[str, Any]:
    actions: list[Any] = []
    reached: dict[str, str] = {}

    async def remember(portal: str) -> str:
        reached[portal] = await reach(portal)
        return reached[portal]

    def ended(done: list[Any]) -> None:
        actions[:] = done

    recorder = Recorder(ProcessRunner(), ManagementSocket(), ended)
    files = dict(_files(Path("/")))
    links = dict(_links(Path("/")))
    await diagnose(Host(recorder, reach=remember), recorder, role, options)
    return {
        "options": options,
        "actions": actions,
        "files": files,
        "links": links,
        "clock": clock_status(),
        "reached": reached,
        "statvfs": list(os.statvfs(STATE)),
    }


def _files(root: Path) -> Iterator[tuple[str, str]]:
    """The small files that a doctor reads, with their content. Of programs only the names."""
    for place in PLACES:
        for path in sorted(root.glob(place)):
            if path.is_file():
                text = "" if place.startswith("usr/") else path.read_text(errors="replace")
                yield str(path.relative_to(root)), SECRET.sub(r"\1(hidden)", text)
    for process in _processes(root):
        for name in ("comm", "cmdline", "stat"):
            with contextlib.suppress(OSError):
                yield f"proc/{process.name}/{name}", (process / name).read_text()


def _links(root: Path) -> Iterator[tuple[str, str]]:
    for process in _processes(root):
        for path in [process / "exe", *sorted(process.glob("fd/*"))]:
            with contextlib.suppress(OSError):
                target = str(path.readlink())
                if path.name == "exe" or target.startswith("socket:"):
                    yield str(path.relative_to(root)), target


def _processes(root: Path) -> Iterator[Path]:
    for process in sorted(root.glob("proc/[0-9]*")):
        with contextlib.suppress(OSError):
            if (process / "comm").read_text().strip() in PROCESSES and process.name != str(
                os.getpid()
            ):
                yield process


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("role")
    parser.add_argument("--volume-group", action="append", default=[])
    parser.add_argument("--portal", action="append", default=[])
    arguments = vars(parser.parse_args())
    logs.configure(verbose=False)
    seen = asyncio.run(record(arguments.pop("role"), arguments))
    # Where Python is on the builder is nobody's business.
    text = json.dumps(seen, indent=1).replace(sys.executable, "/usr/bin/python3")
    text = text.replace(str(Path(sys.executable).resolve()), "/usr/bin/python3.11")
    sys.stdout.write(text + "\n")
