"""What a storage host tells Prometheus: what the role has in memory, as of its last look."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from csi_lvm_iscsi.model.volumes import Pool

_POOL: dict[str, tuple[str, Callable[[Pool], float]]] = {
    "size_bytes": ("Size of the pool.", lambda pool: pool.size_bytes),
    "free_bytes": (
        "What is not yet written (thin) or not taken (thick).",
        lambda pool: pool.free_bytes,
    ),
    "provisioned_bytes": (
        "Sum of the sizes promised to volumes.",
        lambda pool: pool.provisioned_bytes,
    ),
    "available_bytes": (
        "What new volumes may still take together.",
        lambda pool: pool.available_bytes,
    ),
    "maximum_volume_bytes": (
        "The largest volume that can be made now.",
        lambda pool: pool.maximum_volume_bytes,
    ),
    "reclaiming_bytes": (
        "Of deleted thick volumes, still to be wiped.",
        lambda pool: pool.reclaiming_bytes,
    ),
    "data_used_ratio": (
        "Used part of a thin pool's data, 0 to 1.",
        lambda pool: pool.data_percent / 100,
    ),
    "metadata_used_ratio": (
        "Used part of a thin pool's metadata, 0 to 1.",
        lambda pool: pool.metadata_percent / 100,
    ),
    "stopped": ("1 while nothing is provisioned here.", lambda pool: bool(pool.stopped)),
}


@dataclass(slots=True)
class UpkeepState:
    """What keeping tgtd's state right has met with since the role started."""

    tgtd_runs: bool = False
    compared_at: float = 0.0
    """When tgtd was last compared with the records: seconds since 1970; 0: not yet."""

    rebuilt: int = 0
    """Exports that were not as they should be, and were put right."""

    broken: int = 0
    """Exports that the last comparison could not put right."""

    orphan_targets: int = 0
    orphan_accounts: int = 0
    """Of ours in tgtd, and of no publication: found, and removed, by the last comparison."""


def storage_metrics(pools: Sequence[Pool], published: int, upkeep: UpkeepState) -> Iterable[Metric]:
    """The metrics of now."""
    yield GaugeMetricFamily("csi_lvm_iscsi_tgtd_up", "1 while tgtd runs.", upkeep.tgtd_runs)
    yield GaugeMetricFamily(
        "csi_lvm_iscsi_published_volumes", "Volumes that are published to a node.", published
    )
    yield CounterMetricFamily(
        "csi_lvm_iscsi_exports_rebuilt",
        "Exports that were not as they should be, as after tgtd's death, and were put right.",
        upkeep.rebuilt,
    )
    yield GaugeMetricFamily(
        "csi_lvm_iscsi_exports_broken",
        "Exports that the last comparison could not put right; the log tells why.",
        upkeep.broken,
    )
    yield GaugeMetricFamily(
        "csi_lvm_iscsi_exports_compared_timestamp_seconds",
        "When tgtd was last compared with the records; 0: not yet.",
        upkeep.compared_at,
    )
    orphans = GaugeMetricFamily(
        "csi_lvm_iscsi_orphans",
        "Of ours in tgtd and of no publication: found and removed by the last comparison.",
        labels=("kind",),
    )
    orphans.add_metric(("target",), upkeep.orphan_targets)
    orphans.add_metric(("account",), upkeep.orphan_accounts)
    yield orphans
    for name, (meaning, value) in _POOL.items():
        family = GaugeMetricFamily(
            f"csi_lvm_iscsi_pool_{name}", meaning, labels=("volume_group", "thin_pool")
        )
        for pool in pools:
            family.add_metric((pool.volume_group, pool.thin_pool), value(pool))
        yield family
