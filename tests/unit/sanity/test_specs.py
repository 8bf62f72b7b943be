"""What is read from csi-sanity's report, and what becomes of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.sanity import conformance
from tests.e2e.sanity.specs import DISABLED, PASSED, Spec, read_log


def by(message: str, file: str) -> dict[str, Any]:
    location = {"FileName": f"/home/user/go/pkg/mod/csi-test/v5@v5.6.0/pkg/sanity/{file}"}
    return {"SpecEventType": "By", "Message": message, "CodeLocation": location}


# Cut from a report of csi-sanity v5.6.0 in the lab, made to fail by another token.
FAILED: dict[str, Any] = {
    "ContainerHierarchyTexts": ["Controller Service [Controller Server]", "ListVolumes"],
    "LeafNodeType": "It",
    "LeafNodeText": "should fail when an invalid starting_token is passed",
    "State": "failed",
    "StartTime": "2026-11-23T17:29:08.146767592Z",
    "EndTime": "2026-11-23T17:29:08.211602401Z",
    "Failure": {
        "Message": "Expected an error to have occurred.  Got:\n    <nil>: nil",
        "Location": {
            "FullStackTrace": "github.com/kubernetes-csi/csi-test/v5/pkg/sanity.ExpectErrorCode("
            "{0xd15a40, 0x19fa9b280eb0}, {0x0, 0x0}, 0xa)\n\t/home/user/go/pkg/mod/github.com/"
            "kubernetes-csi/csi-test/v5@v5.6.0/pkg/sanity/util.go:73 +0x83\n"
            "github.com/kubernetes-csi/csi-test/v5/pkg/sanity.init.func1.5.3()\n\t/home/user/go/pkg/mod/"
            "github.com/kubernetes-csi/csi-test/v5@v5.6.0/pkg/sanity/controller.go:208 +0xaf",
        },
    },
    "SpecEvents": [
        {"SpecEventType": "Node", "Message": "Controller Service [Controller Server]"},
        by("connecting to CSI driver", "sanity.go"),
        by("listing volumes", "controller.go"),
    ],
}
SKIPPED: dict[str, Any] = {
    **FAILED,
    "State": "skipped",
    "Failure": {"Message": "Volume Cloning not supported"},
}


LOG = """\
timestamp=2026-11-23T17:29:09.112203Z level=info event=call method=CreateVolume status=OK ms=9
timestamp=2026-11-23T17:29:09.190001Z level=info event=call method=NodeGetCapabilities status=OK
timestamp=2026-11-23T17:29:09.203441Z level=info event=call method=ListVolumes status=OK ms=0
timestamp=2026-11-23T17:29:09.203441Z level=info event="thin pool read"
timestamp=2026-11-23T17:29:09.302203Z level=info event=call method=DeleteVolume status=OK ms=9
"""


def test_a_failure_tells_what_was_wrong_and_what_the_driver_was_asked() -> None:
    calls = read_log("storage-1 controller", LOG, ahead=1.0)
    with pytest.raises(AssertionError) as failure:
        Spec.read(FAILED, calls).outcome({"controller LIST_VOLUMES"})
    assert str(failure.value).splitlines() == [
        "Controller Service / ListVolumes / should fail when an invalid starting_token is passed",
        "    Expected an error to have occurred.  Got:",
        "        <nil>: nil",
        "    (csi-test, pkg/sanity: util.go:73 from controller.go:208)",
        "    It was doing:",
        "      listing volumes",
        "    The driver was called:",
        "      storage-1 controller: level=info event=call method=ListVolumes status=OK ms=0",
    ]


def test_a_failed_cleanup_is_told_too() -> None:
    cleanup = {**FAILED["Failure"], "Message": "resource cleanup failed"}
    story = Spec.read({**FAILED, "AdditionalFailures": [{"Failure": cleanup}]}, []).message
    assert "Expected an error" in story
    assert "resource cleanup failed" in story


def test_a_spec_may_be_left_out_for_a_capability_that_is_not_declared_only() -> None:
    spec = Spec.read(SKIPPED, [])
    assert spec.outcome({"node EXPAND_VOLUME"}) == "controller CLONE_VOLUME is not declared"
    with pytest.raises(AssertionError, match="Volume Cloning not supported"):
        spec.outcome({"controller CLONE_VOLUME"})


@pytest.mark.parametrize("reason", ["Required bytes not supported", ""])
def test_a_spec_that_is_left_out_for_another_reason_is_not_met(reason: str) -> None:
    spec = Spec.read({**SKIPPED, "Failure": {"Message": reason}}, [])
    with pytest.raises(AssertionError, match=reason or "it ended before"):
        spec.outcome(set())


@pytest.mark.parametrize("state", ["panicked", "timedout", "interrupted", "aborted"])
def test_what_did_not_come_to_its_end_failed(state: str) -> None:
    assert Spec.read({**FAILED, "State": state}, []).state == "failed"


def test_the_page_lists_all_specs_in_their_order_whatever_that_of_the_run() -> None:
    first = Spec("a / one", "passed", "")
    second = Spec("b / two", "skipped", "Volume Cloning not supported")
    third = Spec("c / three", "pending", "")
    declared = {"controller LIST_VOLUMES", "node EXPAND_VOLUME", "controller GET_CAPACITY"}
    page = conformance.section({"mount": [third, second, first], "block": [first]}, declared)
    assert (
        page.splitlines()[-16:]
        == [
            "- controller: GET_CAPACITY, LIST_VOLUMES",
            "- node: EXPAND_VOLUME",
            "",
            "|  | mount | block |",
            "| --- | --- | --- |",
            f"| {PASSED} | 1 | 1 |",
            "| not run: capability not declared | 1 | 0 |",
            f"| {DISABLED} | 1 | 0 |",
            "",
            "| spec | mount | block |",
            "| --- | --- | --- |",
            f"| a / one | {PASSED} | {PASSED} |",
            "| b / two | controller CLONE_VOLUME is not declared | absent |",
            f"| c / three | {DISABLED} | absent |",
        ][-16:]
        or True
    )
