"""The operator with the chart's account attaches volumes to machines, whose KubeVirt is simulated,
before a real API server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from csi_lvm_iscsi.operator.hotplug import detaching
from tests.chart import cluster
from tests.chart.charts import MINIMAL
from tests.chart.roles import Role
from tests.chart.virtual_machines import (
    HOTPLUGS,
    Admin,
    Machines,
    kubevirt_in,
    make_claim,
    make_hotplug,
    scene,
    until,
)
from tests.unit.cluster.storage_hosts import write_certificates

MACHINES = ("vm-1", "vm-2", "vm-3", "vm-4", "vm-5")
_LIMIT_SECONDS = 1.0
_LATE_SECONDS = detaching.LATE.total_seconds() + 30


@pytest.fixture
def operator(installed: cluster.Cluster, tmp_path: Path) -> Role:
    (tmp_path / "tls").mkdir()
    _, client_tls = write_certificates(tmp_path / "tls")
    (tmp_path / "client-tls").symlink_to(client_tls)
    return Role(installed, tmp_path, "Deployment", "operator", MINIMAL)


@pytest.fixture
async def kubevirt(installed: cluster.Cluster, admin: Admin) -> AsyncIterator[None]:
    async with kubevirt_in(installed, admin):
        yield


@pytest.mark.usefixtures("kubevirt")
async def test_each_is_attached_within_a_second_of_what_it_waits_for(
    admin: Admin, operator: Role
) -> None:
    claims = [f"quick-{number}" for number in range(5)]
    for claim in claims:
        await make_claim(admin, claim)
    made: dict[str, float] = {}
    async with scene(admin, ("quick",)) as machines, operator.running():
        await make_claim(admin, "warm")
        await make_hotplug(admin, "warm", "quick")
        await until(lambda: machines.reason("warm") == "Attached")
        for claim in claims:
            made[claim] = await make_hotplug(admin, claim, "quick")
            await until(lambda claim=claim: machines.reason(claim) == "Attached")  # type: ignore[misc]
        for claim in ("warm", *claims):
            await admin.delete(f"{HOTPLUGS}/{claim}")
        await until(lambda: not machines.hotplugs.objects)
        assert machines.entries("quick") == []
    patched = slowest(made, machines.patched_at)
    attached = slowest({each: machines.ready_at[each] for each in claims}, machines.attached_at)
    print(f"from applied to patched {patched:.2f} s, from Ready to Attached {attached:.2f} s")
    assert patched < _LIMIT_SECONDS
    assert attached < _LIMIT_SECONDS


def slowest(begun: Mapping[str, float], ended: Mapping[str, float]) -> float:
    return max(ended[each] - begun[each] for each in begun)


@pytest.mark.usefixtures("kubevirt")
async def test_the_operator_killed_in_the_middle_attaches_each_once(
    admin: Admin, operator: Role
) -> None:
    claims = [f"data-{number}" for number in range(20)]
    where = {claim: MACHINES[number % 5] for number, claim in enumerate(claims)}
    for claim in claims:
        await make_claim(admin, claim)
    async with scene(admin, MACHINES) as machines:
        async with operator.killed():
            await asyncio.gather(*(make_hotplug(admin, each, where[each]) for each in claims))
            await until(lambda: machines.added.total() >= 7)
        assert machines.added.total() < 20, "all was done before it was killed"
        async with operator.killed():
            await until(lambda: all(machines.reason(each) == "Attached" for each in claims))
            assert machines.added == {(where[each], each): 1 for each in claims}

            machines.virt.held = set(claims[10:])
            for claim in claims:
                await admin.delete(f"{HOTPLUGS}/{claim}")
            # What was asked for as the operator died may be done late: those wait until it cannot.
            await until(lambda: len(machines.hotplugs.objects) == 10, _LATE_SECONDS)
        async with operator.running():
            await until(lambda: machines.reason(claims[10]) in ("Detaching", "GuestHolds"))
            machines.virt.held = set()
            await until(lambda: not machines.hotplugs.objects)
        assert [machines.entries(each) for each in MACHINES] == [[]] * 5


async def test_it_starts_without_kubevirt_and_notices_it(
    installed: cluster.Cluster, admin: Admin, operator: Role
) -> None:
    await make_claim(admin, "early")
    seen = Machines(admin, ())
    async with operator.running(), seen.running():
        await make_hotplug(admin, "early", "late")
        await until(lambda: seen.reason("early") == "KubeVirtMissing")
        async with kubevirt_in(installed, admin), scene(admin, ("late",)):
            await until(lambda: seen.reason("early") == "Attached")
            await admin.delete(f"{HOTPLUGS}/early")
            await until(lambda: not seen.hotplugs.objects)
