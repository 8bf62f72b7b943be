"""What makes a node of the lab's Kubernetes one that virtual machines can run on."""

from __future__ import annotations

import json

from tests.e2e.lab.host import Host
from tests.e2e.lab.kubernetes import nodes
from tests.e2e.lab.services import CHECKOUT, KUBERNETES

RUNC = CHECKOUT / "tests" / "e2e" / "lab" / "kubevirt" / "runc.sh"

CONTAINERD = f"""\
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
    BinaryName = "{KUBERNETES}/runc"
"""


def adapt(host: Host) -> None:
    """Change what `nodes.furnish` gave to a host that has not booted yet."""
    directory = host.directory / "kubernetes"
    runc = directory / "runc"
    runc.write_bytes(RUNC.read_bytes())
    runc.chmod(0o755)
    (directory / "containerd.toml").write_text(nodes.CONTAINERD + CONTAINERD)
    # virt-launcher's pods ask for ephemeral storage, of which a node has none to give without.
    kubelet = nodes.KUBELET | {"localStorageCapacityIsolation": True}
    (directory / "kubelet.yaml").write_text(json.dumps(kubelet))
