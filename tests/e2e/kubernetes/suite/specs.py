"""The specs of Kubernetes' own suite: which there are, and which are not run, and why."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tests.e2e.lab.kubernetes import builds

DRIVER = Path(__file__).with_name("driver.yaml")
PREFIX = "External Storage [Driver: csi-lvm-iscsi.github.io] "
LISTING_TIMEOUT = 120.0

NOT_RUN = {
    r"\[Disruptive\]": "stops kubelet by ssh and systemd, of which the lab's hosts have none; "
    "test_failures.py hangs and cuts nodes instead",
    r"\[Feature:SELinux\]": "needs SELinux, which Debian's kernels have switched off",
    # With the capability RWX it is asked for in every volume mode (testsuites/multivolume.go).
    r"\((ext4|xfs|filesystem volmode)\)\] multiVolume should concurrently access the single volume "
    "from pods on different node": "needs a file system for several nodes (ReadWriteMany), which "
    "the driver refuses; the same with raw block is run",
    "any volume data source": "needs a volume populator, whose image the lab does not build",
}
"""Why specs with this in their names are not run."""

GATE = tuple(Path(__file__).with_name("gate.txt").read_text().splitlines())
"""Specs that stand for all: of each kind of test one or two. Without PREFIX, as all names here."""


def every() -> list[str]:
    """The names of all specs that e2e.test has for the driver."""
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory) / "report.json"
        command = [*program(), "--ginkgo.dry-run", "--ginkgo.focus=External.Storage"]
        subprocess.run(
            [*command, f"--ginkgo.json-report={report}"],
            check=True,
            capture_output=True,
            timeout=LISTING_TIMEOUT,
        )
        return sorted(name(spec) for spec in reported(report) if spec["State"] != "skipped")


def program() -> list[str]:
    """How e2e.test begins, whatever it is to do."""
    return [
        str(builds.BIN / "e2e.test"),
        f"--storage.testdriver={DRIVER}",
        "--provider=skeleton",
        "--ginkgo.no-color",
    ]


def reported(report: Path) -> list[dict[str, Any]]:
    """The specs in a JSON report of Ginkgo's."""
    suites = json.loads(report.read_text())
    nodes = [spec for suite in suites for spec in suite["SpecReports"] or []]
    return [spec for spec in nodes if spec["LeafNodeType"] == "It"]


def name(spec: dict[str, Any]) -> str:
    """A spec's name as people know it, without PREFIX."""
    texts = [*(spec["ContainerHierarchyTexts"] or []), spec["LeafNodeText"]]
    text = " ".join(text for text in texts if text)
    return text.removeprefix(PREFIX)


def why_not_run(spec: str) -> str:
    """Why a spec is not run; empty if it is."""
    return next((reason for part, reason in NOT_RUN.items() if re.search(part, spec)), "")
