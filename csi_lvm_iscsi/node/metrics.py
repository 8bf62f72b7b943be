"""What a node tells Prometheus. Sessions are read in sysfs, so that it is what the kernel has."""

from collections.abc import Iterable
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily, Metric

from csi_lvm_iscsi.initiator.node_records import STORAGE_INTERFACE
from csi_lvm_iscsi.model import names

# Those of the kernel (drivers/scsi/scsi_transport_iscsi.c, iscsi_session_state_names).
_STATES = ("LOGGED_IN", "FAILED", "FREE")


def node_metrics(sys: Path, staged: Iterable[str]) -> Iterable[Metric]:
    """The metrics of now; `staged` are the ids of the volumes that have a record."""
    volumes = set(staged)
    sessions = list(_sessions(sys))
    by_state = GaugeMetricFamily(
        "csi_lvm_iscsi_sessions",
        "iSCSI sessions to volumes; FAILED is cut and being recovered, FREE is given up.",
        labels=("state",),
    )
    for state in _STATES:
        by_state.add_metric((state,), sum(each == state for _, each in sessions))
    yield by_state
    yield GaugeMetricFamily(
        "csi_lvm_iscsi_staged_volumes",
        "Volumes that are staged, or being staged or unstaged.",
        len(volumes),
    )
    yield GaugeMetricFamily(
        "csi_lvm_iscsi_orphan_sessions",
        "iSCSI sessions to volumes that are not staged.",
        sum(volume not in volumes for volume, _ in sessions),
    )


def _sessions(sys: Path) -> Iterable[tuple[str, str]]:
    """Volume and state of each session to a target of ours, but those by which the role storage
    borrows a disk to copy it."""
    for entry in (sys / "class" / "iscsi_session").glob("session*"):
        try:
            target = (entry / "targetname").read_text().strip()
            state = (entry / "state").read_text().strip()
            interface = (entry / "ifacename").read_text().strip()
        except OSError:
            continue  # it ended while it was read
        volume = names.volume_of_target(target)
        if volume and interface != STORAGE_INTERFACE:
            yield volume, state
