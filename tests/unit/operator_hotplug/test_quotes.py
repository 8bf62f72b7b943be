"""Which events are quoted as the reason of a wait."""

from __future__ import annotations

from csi_lvm_iscsi.operator.hotplug import quotes
from csi_lvm_iscsi.storage_client.api_server import Object


def _event(kind: str, reason: str, message: str) -> Object:
    return {
        "type": kind,
        "reason": reason,
        "message": message,
        "lastTimestamp": "2026-11-28T15:58:14Z",
    }


def test_remarks_that_hold_nothing_up_are_not_quoted() -> None:
    """Kubelet made the first of each pod in a cluster without DNS."""
    events = [
        _event("Warning", "MissingClusterDNS", "kubelet does not have ClusterDNS IP configured"),
        _event("Normal", "Scheduled", "Successfully assigned"),
        _event("Warning", "FailedMount", "rpc error: code = Unavailable desc = storage-2 is off"),
    ]
    told = quotes.warnings(events, "attachment pod")
    assert [quotes.in_words(each) for each in told] == [
        "attachment pod (FailedMount): storage-2 is off"
    ]
