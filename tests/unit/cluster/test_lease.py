"""Of two operators one works, and the other when that one is gone."""

from __future__ import annotations

import asyncio

import pytest

from csi_lvm_iscsi.operator import lease
from csi_lvm_iscsi.operator.lease import Lease
from tests.unit.cluster.fake_api import FakeApi
from tests.unit.cluster.world import LEASES, NAMESPACE, Kubernetes, until


class Worker:
    """An operator, as far as its lease goes."""

    def __init__(self, kubernetes: Kubernetes, name: str) -> None:
        self.lease = Lease(kubernetes.api, NAMESPACE, "operator", name)
        self.works = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self.lease.lead(self._work))

    async def kill(self) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _work(self) -> None:
        self.works = True
        try:
            await asyncio.Event().wait()
        finally:
            self.works = False


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "_DURATION_SECONDS", 2)
    monkeypatch.setattr(lease, "_RENEW_SECONDS", 0.6)
    monkeypatch.setattr(lease, "_RETRY_SECONDS", 0.1)


async def spec(kubernetes: Kubernetes) -> dict[str, object]:
    found: dict[str, object] = (await kubernetes.api.get(f"{LEASES}/operator"))["spec"]
    return found


async def test_one_works_until_it_is_killed(kubernetes: Kubernetes) -> None:
    one, two = Worker(kubernetes, "one"), Worker(kubernetes, "two")
    one.start()
    await until(lambda: one.works)
    two.start()
    renewed = (await spec(kubernetes))["renewTime"]
    await until(lambda: _renewed(kubernetes, renewed))
    assert not two.works
    await one.kill()
    assert not one.works
    await until(lambda: two.works)
    assert (await spec(kubernetes))["holderIdentity"] == "two"
    await two.kill()


async def _renewed(kubernetes: Kubernetes, before: object) -> bool:
    return (await spec(kubernetes))["renewTime"] != before


async def test_who_ends_in_order_lets_the_other_work_at_once(
    kubernetes: Kubernetes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "_DURATION_SECONDS", 3600)
    one, two = Worker(kubernetes, "one"), Worker(kubernetes, "two")
    one.start()
    await until(lambda: one.works)
    two.start()
    await one.kill()
    await one.lease.release()
    await until(lambda: two.works)
    assert (await spec(kubernetes))["leaseTransitions"] == 3
    await one.lease.release()  # no more its own
    assert (await spec(kubernetes))["holderIdentity"] == "two"
    await two.kill()


async def test_who_cannot_renew_stops_before_another_may_start(
    kubernetes: Kubernetes, fake: FakeApi
) -> None:
    one = Worker(kubernetes, "one")
    one.start()
    await until(lambda: one.works)
    fake.down = True
    await until(lambda: not one.works, 2)
    fake.down = False
    await until(lambda: one.works)
    await one.kill()


async def test_an_error_of_the_work_ends_it(kubernetes: Kubernetes) -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup):
        await asyncio.wait_for(Lease(kubernetes.api, NAMESPACE, "operator", "one").lead(fail), 10)
