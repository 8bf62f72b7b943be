"""Who may have a volume at the same time, before anything is changed: tgtd is not even asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.model.errors import AlreadyExists, DriverError, FailedPrecondition
from csi_lvm_iscsi.storage.grants import Grant, GrantRecords
from tests.boundary import Player
from tests.scenarios import NAME, NODE, SECOND_NODE, start

SHARE = json.loads((Path(__file__).parent / "transcripts/share.json").read_text())


@pytest.mark.parametrize(
    ("has", "node", "wants", "error"),
    [
        # What it has and wants: whether read-only, whether shared.
        ((False, False), SECOND_NODE, (False, False), FailedPrecondition),
        ((False, False), SECOND_NODE, (False, True), FailedPrecondition),
        ((False, True), SECOND_NODE, (False, False), FailedPrecondition),
        ((False, True), SECOND_NODE, (True, True), FailedPrecondition),
        ((True, True), SECOND_NODE, (False, True), FailedPrecondition),
        ((False, False), NODE, (True, False), AlreadyExists),
        ((True, True), NODE, (False, True), AlreadyExists),
        ((False, True), NODE, (False, False), AlreadyExists),
    ],
)
async def test_refused(
    has: tuple[bool, bool],
    node: str,
    wants: tuple[bool, bool],
    error: type[DriverError],
    tmp_path: Path,
) -> None:
    report = SHARE["undisturbed"]["actions"][0]
    group = json.loads(report["stdout"])["report"][0]["vg"][0]
    volume_id = names.volume_id(str(group["vg_uuid"]), NAME)
    before = (Grant(NODE, "0123456789abcdef", "k1", *has),)
    GrantRecords(tmp_path / "grants").set(volume_id, before)
    player = Player([report])
    parts = await start(player, player, tmp_path, tid=1, nonce="", device_root=tmp_path)
    read_only, shared = wants
    with pytest.raises(error, match=NODE):
        await parts.publications.publish(volume_id, node, read_only=read_only, shared=shared)
    assert GrantRecords(tmp_path / "grants").of(volume_id) == before


def test_grants_of_before_there_were_several_nodes_are_read(tmp_path: Path) -> None:
    (tmp_path / "v.json").write_text('{"grants": [{"node_id": "n", "nonce": "0", "key_id": "k"}]}')
    assert GrantRecords(tmp_path).of("v") == (Grant("n", "0", "k", read_only=False, shared=False),)
