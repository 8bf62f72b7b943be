"""KubeVirt as an administrator installs it: its operator, and the object that it acts on."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Sequence
from typing import Any

from tests.e2e.lab.errors import LabError
from tests.e2e.lab.kubernetes import builds
from tests.e2e.lab.kubernetes.cluster import Cluster
from tests.e2e.lab.kubevirt.images import USERS, VERSION, name
from tests.e2e.lab.lab import Progress

NAMESPACE = "kubevirt"
OPERATOR = "deployment/virt-operator"
KUBEVIRT = "kubevirt.kubevirt.io/kubevirt"
CONTROL_PLANE = "node-role.kubernetes.io/control-plane="
"""The label of the nodes that take KubeVirt's own pods."""

GATES = ("HotplugVolumes", "ExpandDisks")
"""Volumes are plugged by subresources, unless DeclarativeHotplugVolumes is there instead of
HotplugVolumes; virtual machines are told of disks that grew."""

DEPLOYED_TIMEOUT = 900.0
OPERATOR_TIMEOUT = 300.0
POLL_INTERVAL = 2.0


def begin(cluster: Cluster, node: str) -> None:
    """Ask for KubeVirt in a cluster whose nodes are ready, its own pods on `node`."""
    cluster.insist("kubectl", "label", f"node/{node}", CONTROL_PLANE)
    cluster.insist("kubectl", "create", "--filename=-", stdin=json.dumps(_namespace()))
    for kind in ("priorityclass", "kv", "operator-rbac"):
        cluster.insist("kubectl", "create", "--filename=-", stdin=_generated(kind))
    for each in (_operator(), _kubevirt()):
        cluster.insist("kubectl", "create", "--filename=-", stdin=json.dumps(each))


def finish(cluster: Cluster, progress: Progress) -> None:
    """Return when virtual machines can be made. LabError with what KubeVirt says if it fails."""
    deadline = time.monotonic() + DEPLOYED_TIMEOUT
    seen = ""
    while (status := _now(cluster).get("status", {})).get("phase") != "Deployed":
        if (up := _ready_pods(cluster)) != seen:
            progress(f"KubeVirt is ready as far as {up or 'its operator'}")
            seen = up
        if time.monotonic() > deadline:
            raise LabError(f"KubeVirt is not deployed: {json.dumps(status)}")
        time.sleep(POLL_INTERVAL)
    _rest(cluster)
    progress("KubeVirt is deployed")


def set_gates(cluster: Cluster, gates: Sequence[str]) -> None:
    """Turn on these features of KubeVirt's and no others; return when its parts know.

    The operator must have a look at each change of the object, so it is woken for it.
    """
    cluster.insist("kubectl", f"--namespace={NAMESPACE}", "scale", OPERATOR, "--replicas=1")
    rollout = ("rollout", "status", OPERATOR, f"--timeout={OPERATOR_TIMEOUT:.0f}s")
    cluster.insist("kubectl", f"--namespace={NAMESPACE}", *rollout)
    gates_alone = {"configuration": {"developerConfiguration": {"featureGates": list(gates)}}}
    patch = ("patch", KUBEVIRT, "--type=merge", f"--patch={json.dumps({'spec': gates_alone})}")
    cluster.insist("kubectl", f"--namespace={NAMESPACE}", *patch)
    deadline = time.monotonic() + DEPLOYED_TIMEOUT
    while not _has_seen_last_change(cluster):
        if time.monotonic() > deadline:
            raise LabError("KubeVirt's operator takes no notice of other features.")
        time.sleep(POLL_INTERVAL)
    _rest(cluster)


def _rest(cluster: Cluster) -> None:
    """Stop the operator, which has done its work and would go on taking a tenth of a processor."""
    cluster.insist("kubectl", f"--namespace={NAMESPACE}", "scale", OPERATOR, "--replicas=0")


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


def _namespace() -> dict[str, Any]:
    labels = {"kubevirt.io": "", "pod-security.kubernetes.io/enforce": "privileged"}
    metadata = {"name": NAMESPACE, "labels": labels}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def _patient_probes() -> list[dict[str, str]]:
    """Ask each of KubeVirt's parts early whether it is ready, and give it time to answer.

    The virtual machines of a lab have the same slow processor: within 1 s, as KubeVirt has it,
    virt-api is often late, and then the API server has nobody to ask.
    """
    probe = {
        "initialDelaySeconds": 1,
        "periodSeconds": 3,
        "timeoutSeconds": 30,
        "failureThreshold": 10,
    }
    kinds = {"virt-api": "Deployment", "virt-controller": "Deployment", "virt-handler": "DaemonSet"}
    patches = []
    for part, kind in kinds.items():
        pod = {"containers": [{"name": part, "readinessProbe": probe}]}
        patch = json.dumps({"spec": {"template": {"spec": pod}}})
        where = {"resourceName": part, "resourceType": kind}
        patches.append(where | {"type": "strategic", "patch": patch})
    return patches


def _kubevirt() -> dict[str, Any]:
    developer = {"useEmulation": True, "featureGates": list(GATES)}
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "KubeVirt",
        "metadata": {"name": "kubevirt", "namespace": NAMESPACE},
        "spec": {
            "imagePullPolicy": "IfNotPresent",
            "infra": {"replicas": 1},
            "workloads": {"nodePlacement": {"nodeSelector": {"lab": "compute"}}},
            "configuration": {"developerConfiguration": developer},
            "customizeComponents": {"patches": _patient_probes()},
        },
    }


def _operator() -> dict[str, Any]:
    """The operator's Deployment; it finds the images of the others in its environment."""
    labels = {"kubevirt.io": "virt-operator"}
    images = {f"{each.upper().replace('-', '_')}_IMAGE": name(each) for each in USERS}
    environment = images | {"WATCH_NAMESPACE": "", "KUBEVIRT_VERSION": VERSION}
    probe = {"scheme": "HTTPS", "port": 8443, "path": "/metrics"}
    container = {
        "name": "virt-operator",
        "image": name("virt-operator"),
        "imagePullPolicy": "IfNotPresent",
        "command": ["virt-operator", "--port=8443", "-v=2"],
        "ports": [
            {"name": "metrics", "containerPort": 8443},
            {"name": "webhooks", "containerPort": 8444},
        ],
        "readinessProbe": {"httpGet": probe, "periodSeconds": 3, "timeoutSeconds": 10},
        "env": [{"name": key, "value": value} for key, value in environment.items()],
        "resources": {"requests": {"cpu": "10m", "memory": "100Mi"}},
        "volumeMounts": [
            {
                "name": "certificates",
                "mountPath": "/etc/virt-operator/certificates",
                "readOnly": True,
            },
            {"name": "profile", "mountPath": "/profile-data"},
        ],
    }
    secret = {"secretName": "kubevirt-operator-certs", "optional": True}
    pod = {
        "priorityClassName": "kubevirt-cluster-critical",
        "serviceAccountName": "kubevirt-operator",
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [
            {"name": "certificates", "secret": secret},
            {"name": "profile", "emptyDir": {}},
        ],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "virt-operator", "namespace": NAMESPACE, "labels": labels},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels | {"name": "virt-operator"}},
                "spec": pod,
            },
        },
    }
