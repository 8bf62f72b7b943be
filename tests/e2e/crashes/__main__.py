"""Runs in a storage host, whose own role is stopped meanwhile; prints one JSON of all recordings,
or of those of the scenarios that are named.

For each scenario: the verb undisturbed; then, for each n, the verb killed after its n-th action,
the role started again and the verb called again. With each the state that it ends in.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from csi_lvm_iscsi.commands.runner import ProcessRunner
from csi_lvm_iscsi.rpc import logs
from csi_lvm_iscsi.storage.lvm import Lvm
from csi_lvm_iscsi.storage.tgt.socket import ManagementSocket
from csi_lvm_iscsi.storage.tgt.target import Tgtd
from tests.boundary import Action, Recorder
from tests.scenarios import FIRST_TID, SCENARIOS, SECOND_TID, Scenario, call, tids

KILLED = 137


def main() -> None:
    logs.configure(verbose=False)
    chosen = sys.argv[1:] or SCENARIOS
    print(json.dumps({name: record(SCENARIOS[name]) for name in chosen}, indent=1))


def record(scenario: Scenario) -> dict[str, Any]:
    """All recordings of one scenario."""
    undisturbed = record_one(scenario, kill_after=None)
    crashes = [
        record_one(scenario, kill_after=n) for n in range(1, len(undisturbed["actions"]) + 1)
    ]
    with tempfile.TemporaryDirectory() as directory:
        attempt("delete", Path(directory), SECOND_TID, None)
    return {"undisturbed": undisturbed, "crashes": crashes}


def record_one(scenario: Scenario, kill_after: int | None) -> dict[str, Any]:
    """One life: what comes before, the verb (killed), the verb again (if killed), the state."""
    with tempfile.TemporaryDirectory() as directory:
        state = Path(directory)
        before = {verb: attempt(verb, state, tid, None) for verb, tid in tids(scenario).items()}
        actions = attempt(scenario.verb, state, FIRST_TID, kill_after)
        again = attempt(scenario.verb, state, SECOND_TID, None) if kill_after else []
        end = asyncio.run(observe(state))
        attempt(scenario.undo, state, SECOND_TID, None)
    return {"before": before, "actions": actions, "again": again, "state": end}


def attempt(verb: str, state: Path, tid: int, kill_after: int | None) -> list[Action]:
    """Call a verb in a process of its own, which dies after its n-th action; the actions."""
    transcript = state / "transcript"
    child = os.fork()
    if child == 0:
        _call_and_die(verb, state, tid, kill_after, transcript)
    _, status = os.waitpid(child, 0)
    expected = 0 if kill_after is None else KILLED
    if os.waitstatus_to_exitcode(status) != expected:
        sys.exit(f"{verb}, to be killed after {kill_after}, ended with status {status}")
    actions: list[Action] = json.loads(transcript.read_text())
    transcript.unlink()
    return actions


def _call_and_die(
    verb: str, state: Path, tid: int, kill_after: int | None, transcript: Path
) -> None:
    def ended(actions: list[Action]) -> None:
        if len(actions) == kill_after:
            transcript.write_text(json.dumps(actions))
            os._exit(KILLED)
        if kill_after is None:
            transcript.write_text(json.dumps(actions))

    try:
        recorder = Recorder(ProcessRunner(), ManagementSocket(), ended)
        asyncio.run(call(verb, recorder, recorder, state, tid=tid))
    except BaseException as error:  # noqa: BLE001 - the parent must never go on as two
        print(f"{verb}: {error!r}", file=sys.stderr)
        os._exit(1)
    os._exit(0)


async def observe(state: Path) -> dict[str, Any]:
    """What there is now: logical volumes, targets, accounts, grants."""
    report = await Lvm(ProcessRunner(), "vg0").report()
    tgtd = Tgtd(ManagementSocket())
    return {
        "logical volumes": [
            [each.name, each.size_bytes, sorted(each.tags)]
            for each in report.logical_volumes.values()
        ],
        "targets": [
            [target.iqn, asdict(target.units[1]), target.state, target.accounts, target.acl]
            for _, target in sorted((await tgtd.targets()).items())
        ],
        "accounts": sorted(await tgtd.accounts()),
        "grants": {
            path.name: json.loads(path.read_text()) for path in (state / "grants").glob("*")
        },
    }


main()
