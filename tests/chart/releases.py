"""The release of the chart, and a StorageNode, in a cluster."""

from typing import Any

from tests.chart import cluster
from tests.chart.charts import CHART, NAMESPACE, helm


def release(
    api: cluster.Cluster,
    verb: str,
    *arguments: str,
    values: dict[str, Any] | None = None,
    expect: int = 0,
) -> str:
    chart = [str(CHART)] if verb in ("install", "upgrade") else []
    return helm(
        verb, CHART.name, *chart, "--namespace", NAMESPACE, "--kubeconfig", str(api.kubeconfig),
        "--timeout", "60s", *arguments, values=values, expect=expect,
    )  # fmt: skip


def storage_node_object(**spec: Any) -> dict[str, Any]:  # noqa: ANN401
    return {
        "apiVersion": "csi-lvm-iscsi.github.io/v1alpha1",
        "kind": "StorageNode",
        "metadata": {"name": "storage-1"},
        "spec": spec,
    }


def retire(api: cluster.Cluster, name: str) -> None:
    patch = '{"spec":{"retired":true}}'
    api.kubectl("patch", "storagenode", name, "--type=merge", "--patch", patch)


def uuid(letter: str) -> str:
    return "-".join([letter * 6, *[letter * 4] * 5, letter * 6])


GROUPS = [{"name": "vg0", "uuid": uuid("a")}, {"name": "vg1", "uuid": uuid("b")}]
