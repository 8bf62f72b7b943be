"""KubeVirt as an administrator installs it: its operator, and the object that it acts on."""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.e2e.lab.errors import LabError
from tests.e2e.lab.kubernetes import builds
from tests.e2e.lab.kubernetes.cluster import Cluster
from tests.e2e.lab.kubevirt import objects
from tests.e2e.lab.kubevirt.objects import NAMESPACE
from tests.e2e.lab.lab import Progress

OPERATOR = "deployment/virt-operator"
KUBEVIRT = "kubevirt.kubevirt.io/kubevirt"
STRATEGIES = "kubevirt.io/install-strategy"
"""The label of what the operator is to install, a list that a pod writes for it: that takes a lab
host a minute or more, and is always the same. So it is kept."""

DEPLOYED_TIMEOUT = 900.0
OPERATOR_TIMEOUT = 300.0
POLL_INTERVAL = 2.0


def set_apart(cluster: Cluster, node: str) -> None:
    """Have KubeVirt's own pods on this node, and no virtual machines."""
    cluster.insist("kubectl", "label", f"node/{node}", f"{objects.CONTROL_PLANE}=")


def begin(cluster: Cluster) -> None:
    """Ask for KubeVirt in a cluster whose nodes are ready, one of them set apart."""
    cluster.insist("kubectl", "create", "--filename=-", stdin=json.dumps(objects.namespace()))
    for kind in ("priorityclass", "kv", "operator-rbac"):
        cluster.insist("kubectl", "create", "--filename=-", stdin=_generated(kind))
    kept = [json.loads(_strategy().read_text())] if _strategy().exists() else []
    for each in (*kept, objects.operator(), objects.kubevirt()):
        cluster.insist("kubectl", "create", "--filename=-", stdin=json.dumps(each))


def finish(cluster: Cluster, progress: Progress) -> None:
    """Return when virtual machines can be made. LabError with what KubeVirt says if it fails."""
    deadline = time.monotonic() + DEPLOYED_TIMEOUT
    seen = ""
    while (status := _now(cluster).get("status", {})).get("phase") != "Deployed":
        if (up := _ready_pods(cluster)) != seen:
            progress(f"KubeVirt is ready as far as {up or 'its operator'}")
            seen = up
        _check(deadline, f"KubeVirt is not deployed: {json.dumps(status)}")
    _scale_operator(cluster, 0)
    _keep_strategy(cluster)
    progress("KubeVirt is deployed")


def set_gates(cluster: Cluster, gates: Sequence[str]) -> None:
    """Turn on these features of KubeVirt's and no others; return when its parts know.

    The operator must have a look at each change of the object, so it is woken for it.
    """
    _scale_operator(cluster, 1)
    developer = {"featureGates": list(gates)}
    change = json.dumps({"spec": {"configuration": {"developerConfiguration": developer}}})
    patch = (f"--namespace={NAMESPACE}", "patch", KUBEVIRT, "--type=merge", f"--patch={change}")
    deadline = time.monotonic() + OPERATOR_TIMEOUT
    # Its webhook answers some time after it is ready.
    while (done := cluster.kubectl(*patch)).returncode != 0:
        _check(deadline, f"KubeVirt's operator takes no other features: {done.stderr}")
    deadline = time.monotonic() + DEPLOYED_TIMEOUT
    while not _has_seen_last_change(cluster):
        _check(deadline, "KubeVirt's operator takes no notice of other features.")
    _scale_operator(cluster, 0)


def _check(deadline: float, otherwise: str) -> None:
    """Pause before another look; LabError if it is too late for one."""
    if time.monotonic() > deadline:
        raise LabError(otherwise)
    time.sleep(POLL_INTERVAL)


def _scale_operator(cluster: Cluster, replicas: int) -> None:
    """Start or stop it: when its work is done, it would go on taking a tenth of a processor."""
    scale = ("scale", OPERATOR, f"--replicas={replicas}")
    cluster.insist("kubectl", f"--namespace={NAMESPACE}", *scale)


def _strategy() -> Path:
    """Where it is kept, by all that it follows from."""
    made_of = json.dumps([objects.operator(), objects.kubevirt(), builds.KUBEVIRT_BIN.name])
    digest = hashlib.sha256(made_of.encode()).hexdigest()[:12]
    return builds.KUBEVIRT_BIN.parent / f"install-strategy-{digest}.json"


def _keep_strategy(cluster: Cluster) -> None:
    if _strategy().exists():
        return
    command = ("get", "configmaps", f"--namespace={NAMESPACE}", f"--selector={STRATEGIES}")
    (found,) = json.loads(cluster.insist("kubectl", *command, "--output=json"))["items"]
    kept = ("name", "namespace", "labels", "annotations")
    found["metadata"] = {key: found["metadata"][key] for key in kept}
    unfinished = _strategy().with_suffix(".unfinished")
    unfinished.write_text(json.dumps(found))
    unfinished.rename(_strategy())


def _has_seen_last_change(cluster: Cluster) -> bool:
    found = _now(cluster)
    status = found["status"]
    seen = bool(status["observedGeneration"] == found["metadata"]["generation"])
    return seen and status["phase"] == "Deployed"


def _now(cluster: Cluster) -> dict[str, Any]:
    command = ("get", KUBEVIRT, f"--namespace={NAMESPACE}", "--output=json")
    found: dict[str, Any] = json.loads(cluster.insist("kubectl", *command))
    return found


def _ready_pods(cluster: Cluster) -> str:
    command = ("get", "pods", f"--namespace={NAMESPACE}", "--output=json")
    pods = json.loads(cluster.insist("kubectl", *command))["items"]
    ready = [
        pod["metadata"]["labels"].get("kubevirt.io", pod["metadata"]["name"])
        for pod in pods
        for condition in pod["status"].get("conditions", [])
        if condition["type"] == "Ready" and condition["status"] == "True"
    ]
    return ", ".join(sorted(ready))


def _generated(kind: str) -> str:
    """What KubeVirt's own generator writes of a kind."""
    command = [
        str(builds.KUBEVIRT_BIN / "resource-generator"),
        f"-type={kind}",
        f"-namespace={NAMESPACE}",
    ]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
