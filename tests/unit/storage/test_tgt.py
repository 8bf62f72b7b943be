"""tgtd's answers, read; recorded in the lab."""

import asyncio
import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from csi_lvm_iscsi.storage.tgt.target import (
    Connection,
    LogicalUnit,
    Tgtd,
    parse_connections,
    parse_targets,
    shown_megabytes,
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
    assert target.tid == 911
    assert target.iqn.endswith("-pvc-crash")
    unit = target.units[1]
    assert unit == LogicalUnit(unit.path, unit.serial, unit.serial, megabytes=8, read_only=False)
    assert unit.path.startswith("/dev/mapper/vg0-")
    assert target.accounts == [f"v{unit.serial}-0123456789abcdef"]
    assert target.acl == [INITIATOR]


def test_several_targets_are_told_apart() -> None:
    one, other = parse_targets(shown() + shown().replace("Target 911", "Target 912"))
    assert (one.tid, other.tid) == (911, 912)
    assert one.acl == other.acl == [INITIATOR]


def test_no_targets() -> None:
    assert parse_targets("") == []


def test_connections() -> None:
    second = CONNECTIONS.replace("Session: 1", "Session: 12").replace("compute-1", "compute-2")
    assert parse_connections(CONNECTIONS + second) == [
        Connection(1, 0, INITIATOR),
        Connection(12, 0, INITIATOR.replace("compute-1", "compute-2")),
    ]


def test_only_the_targets_of_the_volume_are_read() -> None:
    iqn = parse_targets(shown())[0].iqn
    others = [f"{iqn}-not", f"{iqn}:compute-2", f"{iqn}.b"]
    text = shown() + "".join(shown().replace(iqn, other) for other in others)

    class Shows:
        async def request(self, *_: object, **__: object) -> str:
            return text

    found = asyncio.run(Tgtd(Shows()).targets_of(iqn))
    assert [target.iqn for target in found] == [iqn, f"{iqn}:compute-2"]
    assert all(target.acl == [INITIATOR] for target in found)


@given(st.integers(min_value=0, max_value=1 << 54), st.integers(min_value=1 << 20))
def test_what_grew_by_a_mebibyte_is_shown_with_another_size(size: int, more: int) -> None:
    assert shown_megabytes(size + more) > shown_megabytes(size)


def test_sizes_as_tgtd_showed_them() -> None:
    """Seen in the lab."""
    sizes = {0: 0, 1 << 26: 67, 68 << 20: 71, 72 << 20: 75, 76 << 20: 80, 80 << 20: 84}
    assert {size: shown_megabytes(size) for size in sizes} == sizes
