"""Which events are quoted as the reason of a wait."""

from __future__ import annotations

import datetime as dt

import pytest

from csi_lvm_iscsi.operator.hotplug import quotes
from csi_lvm_iscsi.operator.hotplug.decision import Decision
from csi_lvm_iscsi.operator.hotplug.objects import Told
from csi_lvm_iscsi.operator.hotplug.reasons import Phase, Reason
from csi_lvm_iscsi.operator.hotplug.status import status_of
from csi_lvm_iscsi.storage_client.api_server import Object
from tests.unit.operator_hotplug.test_decision import WORLD

_NOW = dt.datetime(2026, 11, 28, tzinfo=dt.UTC)


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
    told = quotes.warnings(events, quotes.Subject("Pod", "hp", "", "attachment pod"))
    assert [quotes.in_words(each) for each in told] == [
        "attachment pod (FailedMount): storage-2 is off"
    ]


def test_of_another_wait_or_another_object_nothing_is_quoted() -> None:
    event = _event("Warning", "FailedMount", "no login")
    began = dt.datetime(2026, 11, 28, 15, 58, 15, tzinfo=dt.UTC)
    namesake = {**event, "involvedObject": {"uid": "old"}}
    for found, since in ((event, began), (namesake, None)):
        about = quotes.Subject("Pod", "hp", "new", "attachment pod", since)
        assert quotes.warnings([found], about) == []
    about = quotes.Subject("Pod", "hp", "old", "attachment pod", began - dt.timedelta(seconds=1))
    assert len(quotes.warnings([namesake], about)) == 1


@pytest.mark.parametrize(
    ("message", "short"),
    [
        (
            "rpc error: code = Unavailable desc = storage-2 is unreachable.",
            "storage-2 is unreachable.",
        ),
        (
            (
                'AttachVolume.Attach failed for volume "pv" : rpc error: code = Internal desc = '
                "rpc error: code = Aborted desc = busy"
            ),
            "busy",
        ),
        ("0/3 nodes are available", "0/3 nodes are available"),
    ],
)
def test_what_others_say_is_told_in_their_own_words(message: str, short: str) -> None:
    assert quotes.in_short(message) == short


def test_the_newest_complaint_is_told() -> None:
    said = [Told("a", "old", _NOW), Told("b", "new", _NOW + dt.timedelta(1)), Told("c", "never")]
    assert quotes.newest(said) == "b: new"
    assert quotes.newest([]) == ""


def test_a_message_is_no_longer_than_the_api_server_takes() -> None:
    """Else no status could be written any more, and nothing be asked."""
    decided = Decision(Phase.FAILED, Reason.REFUSED, "x" * 40_000)
    (condition,) = status_of(WORLD, decided)["conditions"]
    assert len(condition["message"]) == 32_768
