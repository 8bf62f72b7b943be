"""What a node's own rights in the cluster do not reach."""

from __future__ import annotations

from tests.e2e.lab.kubernetes import release
from tests.e2e.lab.kubernetes.cluster import Cluster

NODE = "compute-1"
KUBELET = (f"--as=system:node:{NODE}", "--as-group=system:nodes")


def test_a_node_cannot_make_itself_a_storage_host(cluster: Cluster) -> None:
    """It would get the server certificate of all storage hosts with the pod."""
    of_its_own = cluster.kubectl(*KUBELET, "label", "node", NODE, "example.com/mine=yes")
    assert of_its_own.returncode == 0, of_its_own.stderr
    refused = cluster.kubectl(*KUBELET, "label", "node", NODE, release.STORAGE_LABEL)
    assert "is not allowed to modify labels" in refused.stderr


def test_a_node_reads_no_publication_but_its_own(cluster: Cluster) -> None:
    """Its nonce would do for a login, as all nodes hold the CHAP keys."""
    refused = cluster.kubectl(*KUBELET, "get", "volumeattachments")
    assert "forbidden" in refused.stderr
