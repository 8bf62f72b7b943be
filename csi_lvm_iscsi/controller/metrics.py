"""What the controller tells Prometheus. It asks nobody for it: it is what calls have met with."""

from collections.abc import Iterable, Sequence

from prometheus_client.core import GaugeMetricFamily, Metric

from csi_lvm_iscsi.storage_client.host import StorageHost

# The replica whose csi-attacher leads calls each host once a minute (its --reconcile-sync). One
# that leads no more would tell of its last call for ever, though the host is back meanwhile. The
# alert waits for longer than this.
LAST_CALL_COUNTS_SECONDS = 180.0


def controller_metrics(hosts: Sequence[StorageHost], now: float) -> Iterable[Metric]:
    """The metrics of now, which is of the monotonic clock. A host that was not called yet is not
    told of, nor is one that is retired; whether one is up only if it was called lately. Pools are
    not either: each storage host tells of its own, and sums would count them twice."""
    up = GaugeMetricFamily(
        "csi_lvm_iscsi_storage_host_up",
        "Whether the storage host answered the last call to it, if that was within 3 minutes.",
        labels=("host",),
    )
    answered = GaugeMetricFamily(
        "csi_lvm_iscsi_storage_host_answered_timestamp_seconds",
        "When the storage host last answered a call; 0: never.",
        labels=("host",),
    )
    for host in hosts:
        if host.is_up is not None and not host.entry.retired:
            if now - host.called_at <= LAST_CALL_COUNTS_SECONDS:
                up.add_metric((host.entry.name,), host.is_up)
            answered.add_metric((host.entry.name,), host.answered_at)
    yield up
    yield answered
