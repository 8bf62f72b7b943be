"""The storage role killed after every action of every verb: the same end state, on real hosts."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.e2e.driver import Driver
from tests.e2e.lab.lab import Lab
from tests.e2e.lab.services import CHECKOUT

TRANSCRIPTS = Path(__file__).parents[1] / "unit/storage/transcripts"


@pytest.mark.slow
def test_the_storage_role_killed_after_every_action(
    lab: Lab, driver: Driver, request: pytest.FixtureRequest
) -> None:
    storage = lab.host("storage-1")
    del driver  # for its check that nothing is left
    storage.exec("pkill", "-STOP", "-f", "csi_lvm_iscsi storage").check()
    try:
        command = f"cd {CHECKOUT} && exec {sys.executable} -m tests.e2e.crashes"
        recorded = json.loads(storage.exec("sh", "-c", command, timeout=1500).check().stdout)
    finally:
        storage.exec("pkill", "-CONT", "-f", "csi_lvm_iscsi storage").check()
    for scenario, recordings in recorded.items():
        undisturbed = recordings["undisturbed"]
        assert len(recordings["crashes"]) == len(undisturbed["actions"])
        for n, crash in enumerate(recordings["crashes"], 1):
            assert crash["state"] == undisturbed["state"], f"{scenario} killed after action {n}"
        if request.config.getoption("--record"):
            path = TRANSCRIPTS / f"{scenario}.json"
            path.write_text(json.dumps(recordings, indent=1) + "\n")
