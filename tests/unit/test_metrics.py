"""The metrics of each role: well named, and as docs/metrics.md tells."""

import asyncio
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from unittest.mock import Mock

import grpc
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric

from csi_lvm_iscsi.commands.measured import MeasuredRunner
from csi_lvm_iscsi.commands.runner import CommandFailed, ProcessRunner, Where
from csi_lvm_iscsi.controller.metrics import controller_metrics
from csi_lvm_iscsi.model.errors import Unavailable
from csi_lvm_iscsi.model.volumes import Pool
from csi_lvm_iscsi.node.metrics import node_metrics
from csi_lvm_iscsi.operator.metrics import Looks, operator_metrics
from csi_lvm_iscsi.operator.status import Condition
from csi_lvm_iscsi.rpc import metrics
from csi_lvm_iscsi.rpc.interceptor import CallInterceptor
from csi_lvm_iscsi.rpc.tls import ClientCredentials
from csi_lvm_iscsi.storage.metrics import UpkeepState, storage_metrics
from csi_lvm_iscsi.storage_client.host import HostEntry, StorageHost

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"
COLUMNS = 5
POOL = Pool("vg0", "uuid", "pool", 100, 60, 70, 30, 20, 5, 40.0, 10.0, "data above 90 %")
UPKEEP = UpkeepState(
    tgtd_runs=True,
    compared_at=1700000000.0,
    rebuilt=3,
    broken=1,
    orphan_targets=2,
    orphan_accounts=4,
)

NOW = 1000.0
LOOKS = Looks(1700000000.0, 5, {"storage-1": (Condition("Ready", "True", "Answering", ""),)})


def unreachable() -> StorageHost:
    credentials = Mock(spec=ClientCredentials)
    credentials.current.return_value = grpc.ssl_channel_credentials()
    return StorageHost(HostEntry("storage-1", "127.0.0.1:1", ()), credentials)


def answered() -> StorageHost:
    host = unreachable()
    host.is_up, host.answered_at, host.called_at = True, 1700000000.0, NOW
    return host


ROLES: dict[str, Callable[[Path], Iterable[Metric]]] = {
    "storage": lambda _: storage_metrics([POOL], 7, UPKEEP),
    "node": lambda sys: node_metrics(sys, []),
    "controller": lambda _: controller_metrics([answered()], NOW),
    "operator": lambda _: operator_metrics(LOOKS, {"Attached": 2}, leads=True),
}


async def collected(role: str, sys: Path) -> list[Metric]:
    """What the role tells, with a sample of each metric."""
    registry = CollectorRegistry()
    if role != "operator":
        CallInterceptor(registry)._seconds.labels("CreateVolume", "OK").observe(1)
    if role in ("storage", "node"):
        runner = MeasuredRunner(ProcessRunner(), registry)
        with pytest.raises(CommandFailed):
            await runner.run("false", where=Where.HERE, seconds=10)
    metrics.register(registry, lambda: ROLES[role](sys))
    return await asyncio.to_thread(lambda: list(registry.collect()))


async def scrape(registry: CollectorRegistry) -> str:
    """As the HTTP server does: in a thread."""
    return (await asyncio.to_thread(generate_latest, registry)).decode()


@pytest.mark.parametrize("role", ROLES)
async def test_metrics_are_named_by_the_conventions(tmp_path: Path, role: str) -> None:
    for family in await collected(role, tmp_path):
        assert re.fullmatch(r"csi_lvm_iscsi_[a-z][a-z0-9_]*", family.name)
        assert family.documentation.endswith(".")
        assert not family.name.endswith(("_percent", "_ms", "_mib", "_gib", "_count", "_total"))
        assert family.type in ("gauge", "counter", "histogram")


async def test_the_document_tells_of_each_metric_and_of_no_other(tmp_path: Path) -> None:
    rows: dict[tuple[str, str, str, str], list[str]] = {}
    for role in ROLES:
        for family in await collected(role, tmp_path):
            # The exposition's name of a counter has this suffix.
            name = family.name + ("_total" if family.type == "counter" else "")
            labels = {label for sample in family.samples for label in sample.labels} - {"le"}
            key = (name, family.type, ", ".join(sorted(labels)), family.documentation)
            rows.setdefault(key, []).append(role)
    table = "\n".join(
        f"| `{name}` | {kind} | {labels or 'none'} | {', '.join(roles)} | {meaning} |"
        for (name, kind, labels, meaning), roles in rows.items()
    )
    lines = DOCUMENT.read_text().splitlines()
    told = [line for line in lines if line.startswith("| `") and line.count(" | ") == COLUMNS - 1]
    assert told == table.splitlines(), f"docs/metrics.md should have:\n{table}"


async def test_a_storage_host_that_does_not_answer_is_down() -> None:
    host = unreachable()
    with pytest.raises(Unavailable):
        await host.get("0123abcd-pvc-1")
    registry = CollectorRegistry()
    metrics.register(registry, lambda: controller_metrics([host], time.monotonic()))
    text = await scrape(registry)
    assert 'csi_lvm_iscsi_storage_host_up{host="storage-1"} 0.0' in text


@pytest.mark.parametrize(("seconds", "told"), [(0, 1), (179, 1), (181, 0)])
async def test_whether_a_host_is_up_is_not_told_when_it_is_called_no_more(
    seconds: float, told: int
) -> None:
    """As by a replica that leads no more: the host may be back, and only another one knows."""
    host = unreachable()
    with pytest.raises(Unavailable):
        await host.get("0123abcd-pvc-1")
    registry = CollectorRegistry()
    metrics.register(registry, lambda: controller_metrics([host], host.called_at + seconds))
    text = await scrape(registry)
    assert text.count('csi_lvm_iscsi_storage_host_up{host="storage-1"} 0.0') == told
    assert 'csi_lvm_iscsi_storage_host_answered_timestamp_seconds{host="storage-1"} 0.0' in text


async def test_a_retired_storage_host_is_told_of_no_more() -> None:
    host = answered()
    host.update(HostEntry("storage-1", "127.0.0.1:1", (), retired=True))
    registry = CollectorRegistry()
    metrics.register(registry, lambda: controller_metrics([host], NOW))
    assert "storage-1" not in await scrape(registry)


async def test_of_storage_hosts_only_the_operator_tells_that_leads() -> None:
    for leads, told in ((True, 1), (False, 0)):
        registry = CollectorRegistry()
        metrics.register(registry, lambda: operator_metrics(LOOKS, {"Attached": 2}, leads=leads))  # noqa: B023
        text = await scrape(registry)
        labels = '{condition="Ready",host="storage-1",status="True"}'
        assert text.count(f"csi_lvm_iscsi_storage_node_condition{labels} 1.0") == told
        assert f"csi_lvm_iscsi_operator_leads {told:.1f}" in text
        assert text.count('csi_lvm_iscsi_volume_hotplugs{phase="Attached"} 2.0') == told


async def test_a_pool_is_told_of_by_its_name() -> None:
    registry = CollectorRegistry()
    metrics.register(registry, lambda: storage_metrics([POOL], 7, UPKEEP))
    text = await scrape(registry)
    labels = '{thin_pool="pool",volume_group="vg0"}'
    assert f"csi_lvm_iscsi_pool_available_bytes{labels} 30.0" in text
    assert f"csi_lvm_iscsi_pool_data_used_ratio{labels} 0.4" in text
    assert f"csi_lvm_iscsi_pool_stopped{labels} 1.0" in text
    assert 'csi_lvm_iscsi_orphans{kind="account"} 4.0' in text
    assert "csi_lvm_iscsi_exports_rebuilt_total 3.0" in text


async def test_sessions_are_told_of_as_the_kernel_has_them(tmp_path: Path) -> None:
    prefix = "iqn.2026-11.io.github.csi-lvm-iscsi"
    own, borrowed = "csi-lvm-iscsi", "csi-lvm-iscsi-storage"
    for number, (target, state, interface) in enumerate(
        [
            (f"{prefix}:a", "LOGGED_IN", own),
            (f"{prefix}:c:compute-1", "LOGGED_IN", own),  # a node's own target of a shared volume
            (f"{prefix}:b", "FAILED", own),
            (f"{prefix}:s.c", "LOGGED_IN", borrowed),
            ("iqn.other:a", "FAILED", own),
        ]
    ):
        session = tmp_path / "class" / "iscsi_session" / f"session{number}"
        session.mkdir(parents=True)
        (session / "targetname").write_text(f"{target}\n")
        (session / "state").write_text(f"{state}\n")
        (session / "ifacename").write_text(f"{interface}\n")
    registry = CollectorRegistry()
    metrics.register(registry, lambda: node_metrics(tmp_path, ["a", "c"]))
    text = await scrape(registry)
    assert 'csi_lvm_iscsi_sessions{state="LOGGED_IN"} 2.0' in text
    assert 'csi_lvm_iscsi_sessions{state="FAILED"} 1.0' in text
    assert "csi_lvm_iscsi_staged_volumes 2.0" in text
    assert "csi_lvm_iscsi_orphan_sessions 1.0" in text


async def test_commands_are_counted_by_program() -> None:
    registry = CollectorRegistry()
    runner = MeasuredRunner(ProcessRunner(), registry)
    await runner.run("true", where=Where.HERE, seconds=10)
    with pytest.raises(CommandFailed):
        await runner.run("false", where=Where.HERE, seconds=10)
    text = await scrape(registry)
    assert 'csi_lvm_iscsi_command_seconds_count{command="true"} 1.0' in text
    assert 'csi_lvm_iscsi_command_failures_total{command="false"} 1.0' in text
