import asyncio

import pytest

from csi_lvm_iscsi.model import in_flight
from csi_lvm_iscsi.model.errors import Busy
from csi_lvm_iscsi.model.in_flight import InFlight


async def test_a_second_call_for_a_volume_is_refused_until_the_first_ends() -> None:
    volumes = InFlight()
    async with volumes.call("a", "CreateVolume"):
        async with volumes.call("b", "CreateVolume"):
            pass
        with pytest.raises(Busy, match="CreateVolume of volume a"):
            async with volumes.call("a", "x"):
                pass
    async with volumes.call("a", "DeleteVolume"):
        pass


async def test_what_failed_lets_go() -> None:
    volumes = InFlight()
    with pytest.raises(KeyError):
        async with volumes.call("a", "x"):
            raise KeyError
    with pytest.raises(KeyError), volumes.upkeep("a", "y"):
        raise KeyError
    async with volumes.call("a", "z"):
        pass


async def test_upkeep_is_refused_where_anything_is_at_work() -> None:
    volumes = InFlight()
    async with volumes.call("a", "x"):
        with pytest.raises(Busy, match="x of volume a"), volumes.upkeep("a", "y"):
            pass
    with (
        volumes.upkeep("a", "y"),
        pytest.raises(Busy, match="y of volume a"),
        volumes.upkeep("a", "z"),
    ):
        pass


async def test_of_the_calls_that_wait_for_upkeep_one_is_next() -> None:
    volumes, goes_on = InFlight(), asyncio.Event()

    async def call() -> str:
        async with volumes.call("a", "NodeStageVolume"):
            await goes_on.wait()
            return "done"

    with volumes.upkeep("a", "Repairing its paths"):
        calls = [asyncio.create_task(call()) for _ in range(2)]
        ended, _ = await asyncio.wait(calls, timeout=0.05)
        assert not ended
    (refused,), _ = await asyncio.wait(calls, timeout=5, return_when=asyncio.FIRST_COMPLETED)
    with pytest.raises(Busy, match="NodeStageVolume of volume a"):
        refused.result()
    goes_on.set()
    (first,) = (each for each in calls if each is not refused)
    assert await first == "done"


async def test_a_call_does_not_wait_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_flight, "_PATIENCE_SECONDS", 0.05)
    volumes = InFlight()
    with (
        volumes.upkeep("a", "Repairing its paths"),
        pytest.raises(Busy, match=r"^Repairing its paths of volume a is still running; call again"),
    ):
        async with volumes.call("a", "x"):
            pass
