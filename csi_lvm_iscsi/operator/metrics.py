"""What the operator tells Prometheus: what its last look at the storage hosts found."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from csi_lvm_iscsi.operator.status import Condition

_STATUSES = ("True", "False", "Unknown")


@dataclass(slots=True)
class Looks:
    """What the looks of this operator have met with."""

    looked_at: float = 0.0
    """When it last looked at all hosts: seconds since 1970; 0: never."""

    writes: int = 0
    """Statuses that it has written."""

    conditions: Mapping[str, tuple[Condition, ...]] = field(default_factory=dict)
    """Of the hosts that are not retired, as of the last look."""


def operator_metrics(looks: Looks, hotplugs: Mapping[str, int], *, leads: bool) -> Iterable[Metric]:
    """The metrics of now; `hotplugs` are the VolumeHotplugs of each phase. Of storage hosts and
    VolumeHotplugs only the operator tells that leads."""
    yield GaugeMetricFamily(
        "csi_lvm_iscsi_operator_leads", "1 while this operator is the one that works.", leads
    )
    yield GaugeMetricFamily(
        "csi_lvm_iscsi_operator_looked_timestamp_seconds",
        "When this operator last looked at all storage hosts; 0: never.",
        looks.looked_at,
    )
    yield CounterMetricFamily(
        "csi_lvm_iscsi_storage_node_status_writes",
        "Statuses of StorageNodes that were written, as something had changed.",
        looks.writes,
    )
    family = GaugeMetricFamily(
        "csi_lvm_iscsi_storage_node_condition",
        "1 for the status that a condition of a StorageNode has; none of those retired.",
        labels=("host", "condition", "status"),
    )
    for host, conditions in looks.conditions.items() if leads else ():
        for each in conditions:
            for status in _STATUSES:
                family.add_metric((host, each.kind, status), each.status == status)
    yield family
    phases = GaugeMetricFamily(
        "csi_lvm_iscsi_volume_hotplugs",
        "VolumeHotplugs, by the phase of their status.",
        labels=("phase",),
    )
    for phase, count in hotplugs.items() if leads else ():
        phases.add_metric((phase,), count)
    yield phases
