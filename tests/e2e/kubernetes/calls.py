"""How long the driver's calls took, as its own metrics tell."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.lab.kubernetes import release
from tests.e2e.lab.kubernetes.cluster import Cluster

PORTS = {"controller": 9743, "node": 9741}
MEASURED = (
    "CreateVolume",
    "ControllerPublishVolume",
    "NodeStageVolume",
    "NodePublishVolume",
)


class Calls:
    """The CSI calls of all controllers and nodes of a cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def seconds(self) -> Mapping[str, float]:
        """All seconds until now, by method."""
        sums: defaultdict[str, float] = defaultdict(float)
        for role, port in PORTS.items():
            for address in self._addresses(role):
                for family in text_string_to_metric_families(self._scrape(address, port)):
                    for sample in family.samples:
                        if sample.name == "csi_lvm_iscsi_call_seconds_sum":
                            sums[sample.labels["method"].rpartition("/")[2]] += sample.value
        return sums

    def since(self, earlier: Mapping[str, float]) -> dict[str, float]:
        """Of the calls that make a volume and bring it to a pod, those that took time since."""
        now = self.seconds()
        took = {method: now.get(method, 0) - earlier.get(method, 0) for method in MEASURED}
        return {method: seconds for method, seconds in took.items() if seconds > 0}

    def _addresses(self, role: str) -> list[str]:
        selector = f"--selector=app.kubernetes.io/component={role}"
        command = ("get", "pods", f"--namespace={release.NAMESPACE}", selector, "--output=json")
        pods = json.loads(self._cluster.insist("kubectl", *command))["items"]
        return [pod["status"]["podIP"] for pod in pods]

    def _scrape(self, address: str, port: int) -> str:
        return self._cluster.fetch(f"http://{address}:{port}/metrics")
