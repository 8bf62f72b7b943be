"""The driver as an administrator installs it: labels, the snapshot API, the chart."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tests.e2e.lab.host import Host
from tests.e2e.lab.kubernetes.builds import SNAPSHOT_CRDS
from tests.e2e.lab.lab import Progress
from tests.e2e.lab.services import CHECKOUT
from tests.e2e.lab.topology import DATA_NETWORK

if TYPE_CHECKING:
    from tests.e2e.lab.kubernetes.cluster import Cluster

NAME = NAMESPACE = "csi-lvm-iscsi"
CHART = CHECKOUT / "deploy" / "helm" / "csi-lvm-iscsi"
STORAGE_LABEL = "csi-lvm-iscsi.node-restriction.kubernetes.io/storage=true"
PATIENCE = 300
"""Seconds until the driver's pods are ready; helm itself takes some more."""

VALUES: dict[str, Any] = {
    "storage": {
        "portalNetworks": [f"{DATA_NETWORK}.0/24"],
        "thinPools": ["vg0/pool"],
        "thickVolumeGroups": ["vg0"],
    },
    "storageClasses": {"csi-lvm-iscsi-thin": {"default": True}},
}


def install(cluster: Cluster, hosts: Sequence[Host], progress: Progress) -> None:
    """Install all in a cluster whose nodes are ready; return when the driver's pods are."""
    storage = [f"node/{host.name}" for host in hosts if host.identity.kind == "storage"]
    compute = [f"node/{host.name}" for host in hosts if host.identity.kind == "compute"]
    cluster.insist("kubectl", "label", *storage, STORAGE_LABEL)
    cluster.insist("kubectl", "label", *compute, "lab=compute")
    cluster.insist("kubectl", "apply", "--kustomize", str(SNAPSHOT_CRDS))
    cluster.control_plane.start_snapshot_controller()
    progress("installing the driver with helm")
    upgrade(cluster, {})


def kubectl(cluster: Cluster, *arguments: str) -> str:
    """What kubectl prints, as administrator, in the driver's namespace."""
    return cluster.insist("kubectl", f"--namespace={NAMESPACE}", *arguments)


def upgrade(cluster: Cluster, values: Mapping[str, Any]) -> None:
    """Install or upgrade the chart with the lab's values and these instead of theirs."""
    cluster.insist(
        "helm", "upgrade", "--install", NAME, str(CHART), f"--namespace={NAMESPACE}",
        "--create-namespace", "--wait", f"--timeout={PATIENCE}s", "--values=-",
        stdin=json.dumps({**VALUES, **cluster.values, **values}), timeout=2 * PATIENCE,
    )  # fmt: skip
