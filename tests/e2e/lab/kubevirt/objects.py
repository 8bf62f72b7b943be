"""The objects with which an administrator installs KubeVirt."""

from __future__ import annotations

import json
from typing import Any

from tests.e2e.lab.kubevirt.images import USERS, VERSION, name

NAMESPACE = "kubevirt"

GATES = ("HotplugVolumes", "ExpandDisks")
"""Volumes are plugged by subresources, unless DeclarativeHotplugVolumes is there instead of
HotplugVolumes; virtual machines are told of disks that grew."""

CONTROL_PLANE = "node-role.kubernetes.io/control-plane"
"""The label of the node that takes KubeVirt's own pods, and no virtual machines."""


def namespace() -> dict[str, Any]:
    """Where all of KubeVirt's own is; its pods may do what pods may do."""
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


def kubevirt() -> dict[str, Any]:
    """The object that the operator acts on."""
    developer = {"useEmulation": True, "featureGates": list(GATES)}
    apart = {"matchExpressions": [{"key": CONTROL_PLANE, "operator": "DoesNotExist"}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [apart]}}
    guests = {"nodeSelector": {"lab": "compute"}, "affinity": {"nodeAffinity": required}}
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "KubeVirt",
        "metadata": {"name": "kubevirt", "namespace": NAMESPACE},
        "spec": {
            "imagePullPolicy": "IfNotPresent",
            "infra": {"replicas": 1},
            "workloads": {"nodePlacement": guests},
            "configuration": {"developerConfiguration": developer},
            "customizeComponents": {"patches": _patient_probes()},
        },
    }


def operator() -> dict[str, Any]:
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
