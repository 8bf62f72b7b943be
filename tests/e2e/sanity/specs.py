"""What csi-sanity says of a spec, and what that means for the driver."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

# What has to be declared for a spec to run, by csi-sanity's words when it is not. Words that are
# not here would be of a capability that the driver cannot be without, or of no capability.
CAPABILITIES = {
    "ControllerPublishVolume.readonly field not supported": "controller PUBLISH_READONLY",
    "Volume Cloning not supported": "controller CLONE_VOLUME",
    "ControllerExpandVolume not supported": "controller EXPAND_VOLUME",
    "Snapshot not supported": "controller CREATE_DELETE_SNAPSHOT",
    "CreateSnapshot not supported": "controller CREATE_DELETE_SNAPSHOT",
    "DeleteSnapshot not supported": "controller CREATE_DELETE_SNAPSHOT",
    "ListSnapshots not supported": "controller LIST_SNAPSHOTS",
    "GetSnapshot not supported": "controller GET_SNAPSHOT",
    "Modify volume not supported": "controller MODIFY_VOLUME",
    "Modify Volume not supported": "controller MODIFY_VOLUME",
    "ControllerModifyVolume not supported": "controller MODIFY_VOLUME",
    "ControllerGetVolumeHealth not supported": "controller GET_VOLUME_HEALTH",
    "ControllerListVolumeHealth not supported": "controller LIST_VOLUME_HEALTH",
    "SNAPSHOT_ACCESSIBILITY_CONSTRAINTS not supported": (
        "plugin SNAPSHOT_ACCESSIBILITY_CONSTRAINTS"
    ),
    "GroupControllerService not supported": "plugin GROUP_CONTROLLER_SERVICE",
    "NodeGetVolume not supported": "node GET_VOLUME_STATS",
    "NodeExpandVolume not supported": "node EXPAND_VOLUME",
    "NodeGetVolumeHealth not supported": "node GET_VOLUME_HEALTH",
    "NodeGetStorageHealth not supported": "node GET_STORAGE_HEALTH",
    "No MaxVolumesPerNode": "node max_volumes_per_node",
}

PASSED = "passed"
DISABLED = "disabled in csi-test, done by tests/e2e/test_sanity.py"

# Called before every spec; they say nothing of it.
_PREPARATIONS = re.compile(r"method=\w*(GetCapabilities|GetPluginCapabilities) .*status=OK")
_CODE = re.compile(r"pkg/sanity/(\w+\.go:\d+)")


class Call(NamedTuple):
    """A call that a role logged."""

    time: float
    """When it ended, in seconds since 1970."""
    role: str
    text: str


def read_log(role: str, log: str, ahead: float) -> list[Call]:
    """The calls in the log of a role whose clock is so many seconds ahead; not preparations."""
    calls = []
    for line in log.splitlines():
        timestamp, _, text = line.removeprefix("timestamp=").partition(" ")
        if " event=call " in text and not _PREPARATIONS.search(text):
            calls.append(Call(_seconds(timestamp) - ahead, role, text))
    return calls


def _seconds(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp).timestamp()


@dataclass(frozen=True, slots=True)
class Spec:
    """One of csi-sanity's demands, and what came of it."""

    name: str
    state: str
    """passed, skipped, pending or failed."""
    message: str
    """Why it was skipped, or all that is known of its failure."""

    @classmethod
    def read(cls, report: dict[str, Any], calls: Sequence[Call]) -> Spec:
        """One of ginkgo's reports, with the calls of its time if it failed."""
        texts = [*report["ContainerHierarchyTexts"], report["LeafNodeText"]]
        name = " / ".join(re.sub(r" \[.*]$", "", text) for text in texts)
        failure = report.get("Failure", {})
        if report["State"] in ("passed", "skipped", "pending"):
            return cls(name, report["State"], failure.get("Message", ""))
        begin, end = _seconds(report["StartTime"]), _seconds(report["EndTime"])
        during = [call for call in calls if begin <= call.time <= end]
        return cls(name, "failed", _story(report, during))

    def outcome(self, declared: Collection[str]) -> str:
        """PASSED, DISABLED or what the driver would have to declare.

        Raises AssertionError, with all there is to know, where it failed or did not run although
        the driver declares what it is for.
        """
        if self.state == "passed":
            return PASSED
        if self.state == "pending":
            return DISABLED
        missing = CAPABILITIES.get(self.message)
        if self.state == "skipped" and missing and missing not in declared:
            return f"{missing} is not declared"
        if self.state == "skipped":
            raise AssertionError(
                f"{self.name}\n    was left out: {self.message or 'it ended before'}"
            )
        raise AssertionError(f"{self.name}\n{self.message}")


def _story(report: dict[str, Any], calls: Sequence[Call]) -> str:
    """A failure as one reads it: what was wrong, where csi-sanity says so, what led to it."""
    lines = []
    for failure in _failures(report):
        code = " from ".join(_CODE.findall(failure["Location"].get("FullStackTrace", "")))
        lines += [*failure["Message"].splitlines(), f"(csi-test, pkg/sanity: {code})"]
    lines += ["It was doing:", *(f"  {step}" for step in _steps(report))]
    lines += ["The driver was called:", *(f"  {call.role}: {call.text}" for call in calls)]
    return "\n".join(f"    {line}" for line in lines)


def _steps(report: dict[str, Any]) -> list[str]:
    """What it said it was doing, but for what it does before each spec."""
    return [
        event["Message"]
        for event in report.get("SpecEvents") or ()
        if event["SpecEventType"] == "By"
        and not event["CodeLocation"]["FileName"].endswith("/sanity.go")
    ]


def _failures(report: dict[str, Any]) -> list[dict[str, Any]]:
    """The first failure and those of the cleanup after it."""
    others = report.get("AdditionalFailures") or ()
    return [report["Failure"], *(other["Failure"] for other in others)]
