"""The storage role killed after every action, over what was recorded in the lab.

A recording holds the actions up to the kill, those of the call that came after it, and the state
that the hosts were in at the end. Another action than the recorded one fails; so the tests hold the
order of actions too, on which safety rests (the account before the name, the fence before all).
Record anew with `make record`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from csi_lvm_iscsi.commands.runner import Completed
from csi_lvm_iscsi.model import names
from tests.boundary import Action, Killed, Player
from tests.scenarios import FIRST_TID, NAME, SCENARIOS, SECOND_TID, call, tids

TRANSCRIPTS = Path(__file__).parent / "transcripts"
RECORDED: dict[str, dict[str, Any]] = {
    name: json.loads((TRANSCRIPTS / f"{name}.json").read_text()) for name in SCENARIOS
}
LIVES = [
    pytest.param(name, life, id=f"{name} killed after {n}" if n else name)
    for name, recorded in RECORDED.items()
    for n, life in enumerate([recorded["undisturbed"], *recorded["crashes"]])
]


@pytest.mark.parametrize(("scenario", "life"), LIVES)
async def test_the_same_actions_and_the_same_end(
    scenario: str, life: dict[str, Any], tmp_path: Path
) -> None:
    devices = tmp_path / "devices"
    _show_device(devices, _uuid(life["actions"]))
    for verb, tid in tids(SCENARIOS[scenario]).items():
        await _play(verb, life["before"][verb], tmp_path, tid)
    verb = SCENARIOS[scenario].verb
    if life["again"]:
        player = GrowingPlayer(devices, life["actions"], killed=True)
        with pytest.raises(Killed):
            await call(verb, player, player, tmp_path, tid=FIRST_TID, device_root=devices)
        await _play(verb, life["again"], tmp_path, SECOND_TID)
    else:
        await _play(verb, life["actions"], tmp_path, FIRST_TID)
    grants = {path.name: json.loads(path.read_text()) for path in (tmp_path / "grants").glob("*")}
    assert grants == life["state"]["grants"]
    assert life["state"] == RECORDED[scenario]["undisturbed"]["state"]


class GrowingPlayer(Player):
    """Plays a recording back; where lvm made the volume larger, sysfs shows it."""

    def __init__(self, devices: Path, actions: list[Action], *, killed: bool = False) -> None:
        super().__init__(actions, killed=killed)
        self._size = devices / "sys/block/dm-5/size"

    async def run(self, *argv: str, **options: Any) -> Completed:  # noqa: ANN401
        """See Runner.run."""
        if argv[1] == "lvextend":
            size = argv[argv.index("--size") + 1]
            self._size.write_text(f"{int(size.removesuffix('b')) // 512}\n")
        return await super().run(*argv, **options)


async def _play(verb: str, actions: list[Action], state: Path, tid: int) -> None:
    player = GrowingPlayer(state / "devices", actions)
    await call(verb, player, player, state, tid=tid, device_root=state / "devices")
    assert player.left() == []


def _uuid(actions: list[Action]) -> str:
    """Of the recorded volume group: each life begins with its report."""
    group = json.loads(actions[0]["stdout"])["report"][0]["vg"][0]
    return str(group["vg_uuid"])


def _show_device(root: Path, uuid: str) -> None:
    """What the kernel and udev show of the active logical volume."""
    volume = names.volume_id(uuid, NAME)
    for directory in ("dev/mapper", "sys/block/dm-5/dm", "sys/block/dm-5/queue"):
        (root / directory).mkdir(parents=True)
    (root / "dev/dm-5").touch()
    (root / "dev/mapper" / names.device_mapper_name("vg0", volume)).symlink_to("../dm-5")
    shown = names.device_mapper_name("vg0", volume)
    (root / "sys/block/dm-5/dm/name").write_text(f"{shown}\n")
    (root / "sys/block/dm-5/dm/uuid").write_text(f"LVM-{uuid.replace('-', '')}{'x' * 32}\n")
    (root / "sys/block/dm-5/size").write_text("16384\n")
    (root / "sys/block/dm-5/queue/discard_max_bytes").write_text("4294966784\n")
