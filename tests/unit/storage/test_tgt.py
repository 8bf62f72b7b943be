"""tgtd's answers, read; recorded in the lab."""

import json
from pathlib import Path

from csi_lvm_iscsi.storage.tgt.target import (
    Connection,
    LogicalUnit,
    parse_connections,
    parse_targets,
)

TRANSCRIPT = json.loads((Path(__file__).parent / "transcripts/unpublish.json").read_text())
INITIATOR = "iqn.2026-11.io.github.csi-lvm-iscsi:node.compute-1"
CONNECTIONS = f"""\
Session: 1
    Connection: 0
        Initiator: {INITIATOR}
        IP Address: 10.77.0.101
"""


def shown() -> str:
    """What tgtd showed of its targets just before they were to go."""
    actions = TRANSCRIPT["undisturbed"]["actions"]
    return next(str(each["text"]) for each in actions if each.get("tgt") == "SHOW TARGET")


def test_a_target_is_read_whole() -> None:
    (target,) = parse_targets(shown())
    assert target.tid == 1001
    assert target.iqn.endswith("-pvc-crash")
    unit = target.units[1]
    assert unit == LogicalUnit(unit.path, unit.serial, unit.serial)
    assert unit.path.startswith("/dev/mapper/vg0-")
    assert target.accounts == [f"v{unit.serial}-0123456789abcdef"]
    assert target.acl == [INITIATOR]


def test_several_targets_are_told_apart() -> None:
    one, other = parse_targets(shown() + shown().replace("Target 1001", "Target 1002"))
    assert (one.tid, other.tid) == (1001, 1002)
    assert one.acl == other.acl == [INITIATOR]


def test_no_targets() -> None:
    assert parse_targets("") == []


def test_connections() -> None:
    second = CONNECTIONS.replace("Session: 1", "Session: 12").replace("compute-1", "compute-2")
    assert parse_connections(CONNECTIONS + second) == [
        Connection(1, 0, INITIATOR),
        Connection(12, 0, INITIATOR.replace("compute-1", "compute-2")),
    ]
