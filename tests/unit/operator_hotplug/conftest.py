"""A machine that runs, and a claim, with KubeVirt in both its ways."""

from __future__ import annotations

import pytest

from tests.unit.operator_hotplug.flow import GATES
from tests.unit.operator_hotplug.scene import Scene


@pytest.fixture(params=[True, False], ids=["declarative", "imperative"])
async def scene(request: pytest.FixtureRequest) -> Scene:
    made = Scene(is_declarative=request.param)
    await made.kubevirt(GATES[request.param])
    await made.claim("data")
    await made.machine("c2")
    await made.settle(["c2"], rounds=5)
    return made
