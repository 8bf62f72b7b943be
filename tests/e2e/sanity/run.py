"""One run of csi-sanity against the lab's controller and one of its nodes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.e2e.driver import DIRECTORY, MIB
from tests.e2e.lab.errors import LabError
from tests.e2e.lab.host import Host
from tests.e2e.lab.lab import Lab
from tests.e2e.sanity.program import program
from tests.e2e.sanity.specs import Call, Spec, read_log

NODE = "compute-1"

_TARGETS = f"{DIRECTORY}/published/sanity"
_STAGING = f"{DIRECTORY}/staging/sanity"

_TIMEOUT = 900
"""Seconds for all specs: a call of csi-sanity has no deadline of its own."""

_GRACE = 60
"""Seconds for csi-sanity to write its report of what hangs, when the time is over."""


def run(lab: Lab, access_type: str, scratch: Path) -> list[Spec]:
    """All specs with volumes of this access type, `mount` or `block`, and what came of them.

    The process must be inside the lab's network. Raises LabError where csi-sanity did not come to
    its end, or the driver left something in the directories that it was given.
    """
    node = lab.host(NODE)
    node.exec("mkdir", "-p", _TARGETS, _STAGING).check()
    report = scratch / f"{access_type}.json"
    _start(lab, access_type, report)
    specs = [spec for suite in json.loads(report.read_text()) for spec in _specs(lab, suite)]
    removed = node.exec("rmdir", _TARGETS, _STAGING)
    if not any(spec.state == "failed" for spec in specs):
        removed.check()
    return specs


def _start(lab: Lab, access_type: str, report: Path) -> None:
    command = [
        str(program()),
        "--csi.endpoint", f"dns:///{lab.host(NODE).csi_address('node')}",
        "--csi.controllerendpoint", f"dns:///{lab.host('storage-1').csi_address('controller')}",
        # Made once, before: it would make and remove them for each spec, and not look whether
        # that succeeded (pkg/sanity/sanity.go, Teardown).
        "--csi.mountdir", _TARGETS, "--csi.createmountpathcmd", "echo",
        "--csi.stagingdir", _STAGING, "--csi.createstagingpathcmd", "echo",
        "--csi.removemountpathcmd", "true", "--csi.removestagingpathcmd", "true",
        "--csi.checkpathcmd", str(Path(__file__).with_name("check-path")),
        "--csi.testvolumeaccesstype", access_type,
        "--csi.testvolumesize", str(64 * MIB), "--csi.testvolumeexpandsize", str(128 * MIB),
        "--csi.testnodevolumeattachlimit",
        "--ginkgo.no-color", "--ginkgo.timeout", f"{_TIMEOUT}s",
        "--ginkgo.json-report", str(report),
    ]  # fmt: skip
    environment = {
        **os.environ,
        "LAB_DIR": str(lab.directory), "NODE": NODE, "PYTHON": sys.executable,
        "NO_PROXY": "*",  # gRPC would send even these calls to the builder's proxy
    }  # fmt: skip
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=_TIMEOUT + _GRACE, check=False,
    )  # fmt: skip
    print(*re.findall("^(?:Random Seed|Ran ).*", done.stdout, re.MULTILINE), sep="\n")
    if not report.exists():
        raise LabError(f"csi-sanity ended with status {done.returncode}: {done.stdout[-2000:]}")


def _specs(lab: Lab, suite: dict[str, Any]) -> list[Spec]:
    """What ginkgo's report says (onsi/ginkgo, types/types.go, Report)."""
    reports = [each for each in suite["SpecReports"] if each["LeafNodeType"] == "It"]
    failed = any(each["State"] not in ("passed", "skipped", "pending") for each in reports)
    calls = _calls(lab) if failed else []
    return [Spec.read(each, calls) for each in reports]


def _calls(lab: Lab) -> list[Call]:
    """The calls that the roles have logged, the oldest first."""
    calls = []
    for host in lab.hosts.values():
        ahead = _ahead(host)
        for role in {"controller", "storage", "node"} & set(host.logs()):
            calls += read_log(f"{host.name} {role}", host.log(role), ahead)
    return sorted(calls)


def _ahead(host: Host) -> float:
    """By how many seconds its clock is ahead: a lab host takes whole seconds over when it boots."""
    earlier = time.time()
    told = float(host.exec("date", "+%s.%N").check().text)
    return told - (earlier + time.time()) / 2
