"""The files that make a host a node: for containerd, its network of pods, and kubelet."""

from __future__ import annotations

import json

from tests.e2e.lab.host import Host
from tests.e2e.lab.kubernetes.builds import BIN
from tests.e2e.lab.kubernetes.images import PAUSE
from tests.e2e.lab.services import KUBERNETES

CONTAINERD = f"""\
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{KUBERNETES}/cni"
"""

KUBELET = {
    "apiVersion": "kubelet.config.k8s.io/v1beta1",
    "kind": "KubeletConfiguration",
    "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
    "cgroupDriver": "cgroupfs",
    # The lab's own network is the only one that reaches it.
    "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
    "authorization": {"mode": "AlwaysAllow"},
    "resolvConf": "",
    "enforceNodeAllocatable": [],
    "evictionHard": {"memory.available": "10Mi"},
    "failSwapOn": False,
    # Its root file system is hostfs, of which cadvisor knows no size.
    "localStorageCapacityIsolation": False,
    "imageGCHighThresholdPercent": 100,
}


def furnish(host: Host, kubeconfig: str = "") -> None:
    """Write what the host sees, read-only, as /etc/kubernetes."""
    directory = host.directory / "kubernetes"
    (directory / "cni").mkdir(parents=True)
    (directory / "bin").symlink_to(BIN)
    (directory / "containerd.toml").write_text(CONTAINERD)
    (directory / "cni" / "lab.conflist").write_text(json.dumps(_pod_network(host)))
    (directory / "kubelet.yaml").write_text(json.dumps(KUBELET))
    (directory / "kubeconfig").write_text(kubeconfig)


def _pod_network(host: Host) -> dict[str, object]:
    addresses = {
        "type": "host-local",
        "ranges": [[{"subnet": host.identity.pod_network}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {"type": "bridge", "bridge": "pods", "isGateway": True, "ipam": addresses}
    return {"cniVersion": "0.4.0", "name": "lab", "plugins": [bridge]}
