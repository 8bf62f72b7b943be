"""Writes what is made of the chart: `python -m tests.chart.write`."""

from tests.chart.charts import CHART, MINIMAL, NAMESPACE, ROOT, template
from tests.chart.values_table import readme

MANIFESTS = ROOT / "deploy/manifests/csi-lvm-iscsi.yaml"
_HEADER = f"""\
# Made by `make manifests` of the chart in deploy/helm/csi-lvm-iscsi, which is better used itself
# (docs/install.md). It is a namespace, and what this prints:
#   helm template csi-lvm-iscsi deploy/helm/csi-lvm-iscsi \\
#     --namespace {NAMESPACE} --kube-version 1.37.2 \\
#     --set 'storage.portalNetworks={{10.77.0.0/24}}' --set 'storage.thinPools={{vg0/pool}}'
# Put your image (none is published), networks and pools in the place of these. Before it is applied
# again:
#   kubectl -n {NAMESPACE} delete job csi-lvm-iscsi-bootstrap --ignore-not-found
---
apiVersion: v1
kind: Namespace
metadata:
  name: {NAMESPACE}
  labels:
    # storage, tgtd and node work on the hosts' disks.
    pod-security.kubernetes.io/enforce: privileged
"""


def manifests() -> str:
    """The manifests with their header."""
    return _HEADER + template(MINIMAL)


if __name__ == "__main__":
    MANIFESTS.write_text(manifests())
    (CHART / "README.md").write_text(readme())
