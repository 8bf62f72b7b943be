"""Whatever happened before: where KubeVirt works no more, what is deleted goes all the same."""

from __future__ import annotations

import pytest
from hypothesis.stateful import run_state_machine_as_test

from tests.unit.operator_hotplug import test_sequences
from tests.unit.operator_hotplug.users import HOTPLUGS


class Broken(test_sequences.Sequences):
    """KubeVirt works no more in the end: what is deleted goes all the same, and says so."""

    async def _end(self) -> None:
        scene = self.scene
        scene.virt_api_is_away, scene.virt.held = True, set(test_sequences.CLAIM_NAMES)
        await scene.set_available(available=False)
        await scene.watch()
        for name in list(scene.hotplugs()):
            await scene.api.delete(f"{HOTPLUGS}/{name}")
        await scene.settle([], rounds=70)
        assert scene.hotplugs() == {}
        self.check_no_disk_is_left()


class BrokenImperative(Broken):
    is_declarative = False


@pytest.mark.parametrize("way", [Broken, BrokenImperative])
def test_what_is_deleted_goes(way: type[Broken]) -> None:
    run_state_machine_as_test(way, settings=test_sequences.SETTINGS)
