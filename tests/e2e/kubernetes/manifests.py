"""Objects of Kubernetes, as a user would write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.e2e.lab.kubernetes.images import BUSYBOX

Object = dict[str, Any]
DATA = "/data"
DEVICE = "/dev/volume"
THIN, THICK = "csi-lvm-iscsi-thin", "csi-lvm-iscsi-thick"
# Ends at once when it is told to: process 1 takes no signal that it does not ask for.
IDLE = "trap exit TERM; sleep infinity & wait"


def claim(
    name: str,
    *,
    size: str = "64Mi",
    mode: str = "ReadWriteOnce",
    block: bool = False,
    storage_class: str = THIN,
    source: tuple[str, str] | None = None,
) -> Object:
    """A PersistentVolumeClaim; `source` is the kind and name of what it is a copy of."""
    spec: Object = {
        "accessModes": [mode],
        "volumeMode": "Block" if block else "Filesystem",
        "storageClassName": storage_class,
        "resources": {"requests": {"storage": size}},
    }
    if source:
        kind, of = source
        group = {"apiGroup": "snapshot.storage.k8s.io"} if kind == "VolumeSnapshot" else {}
        spec["dataSource"] = {"kind": kind, "name": of, **group}
    return _object("v1", "PersistentVolumeClaim", name, spec)


def pod(
    name: str,
    claim_name: str,
    *,
    node: str = "",
    script: str = IDLE,
    block: bool = False,
    read_only: bool = False,
    labels: Mapping[str, str] | None = None,
) -> Object:
    """A pod that has a claim's volume at DATA, or at DEVICE if it is raw block."""
    spec = pod_spec(claim_name, script=script, block=block, read_only=read_only)
    if node:
        spec["nodeSelector"] = {"kubernetes.io/hostname": node}
    return _object("v1", "Pod", name, spec, labels)


def pod_spec(
    claim_name: str, *, script: str = IDLE, block: bool = False, read_only: bool = False
) -> Object:
    """What a pod, or the template of one, is made of."""
    container: Object = {
        "name": "main",
        "image": BUSYBOX,
        "command": ["sh", "-c", script],
        "resources": {"requests": {"cpu": "1m", "memory": "1Mi"}},
    }
    if block:
        container["volumeDevices"] = [{"name": "volume", "devicePath": DEVICE}]
    else:
        container["volumeMounts"] = [{"name": "volume", "mountPath": DATA}]
    source = {"claimName": claim_name, "readOnly": read_only}
    return {
        "containers": [container],
        "volumes": [{"name": "volume", "persistentVolumeClaim": source}],
        # None but their own names are to be found: the lab has no DNS.
        "dnsPolicy": "Default",
        "enableServiceLinks": False,
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 5,
    }


def pod_with_volume_of_its_own(name: str, storage_class: str) -> Object:
    """A pod with a generic ephemeral volume at DATA, whose claim is NAME-volume."""
    spec = pod_spec("")
    template = {"spec": claim("", storage_class=storage_class)["spec"]}
    spec["volumes"] = [{"name": "volume", "ephemeral": {"volumeClaimTemplate": template}}]
    return _object("v1", "Pod", name, spec)


def deployment(name: str, claim_name: str, *, script: str = IDLE) -> Object:
    """One pod, made again wherever it can be; the old one ends before the new one begins."""
    labels = {"app": name}
    spec = {
        "replicas": 1,
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": {"labels": labels},
            "spec": pod_spec(claim_name, script=script) | {"nodeSelector": COMPUTE},
        },
    }
    return _object("apps/v1", "Deployment", name, spec)


COMPUTE = {"lab": "compute"}
"""The label of the lab's compute hosts."""


def stateful_set(name: str, replicas: int) -> Object:
    """Pods that each have a claim of their own, `volume-NAME-N`, and write their name to it."""
    labels = {"app": name}
    script = f'[ -e {DATA}/name ] || echo "$HOSTNAME" >{DATA}/name; {IDLE}'
    template = pod_spec("", script=script)
    del template["volumes"]
    volume = claim("volume")
    spec = {
        "replicas": replicas,
        "serviceName": name,
        "podManagementPolicy": "Parallel",
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": template},
        "volumeClaimTemplates": [{"metadata": {"name": "volume"}, "spec": volume["spec"]}],
    }
    return _object("apps/v1", "StatefulSet", name, spec)


def snapshot(name: str, claim_name: str) -> Object:
    """A VolumeSnapshot of a claim's volume."""
    spec = {"source": {"persistentVolumeClaimName": claim_name}}
    return _object("snapshot.storage.k8s.io/v1", "VolumeSnapshot", name, spec)


def storage_class(name: str, parameters: Mapping[str, str], *, late: bool = False) -> Object:
    """A StorageClass of the driver's; `late`: its claims wait for the pods that use them."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name},
        "provisioner": "csi-lvm-iscsi.github.io",
        "parameters": dict(parameters),
        "volumeBindingMode": "WaitForFirstConsumer" if late else "Immediate",
        "allowVolumeExpansion": True,
    }


def listed(objects: Sequence[Object]) -> Object:
    """Several objects as one."""
    return {"apiVersion": "v1", "kind": "List", "items": list(objects)}


def _object(
    version: str, kind: str, name: str, spec: Object, labels: Mapping[str, str] | None = None
) -> Object:
    metadata = {"name": name, "labels": dict(labels or {})}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}
