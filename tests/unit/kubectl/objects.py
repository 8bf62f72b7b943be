"""Objects of a cluster, as its API gives them."""

from typing import Any

Object = dict[str, Any]
DRIVER = "csi-lvm-iscsi.github.io"
GROUP_UUID = "ETn5Lw-ncXe-Qyfm-aBcD-eFgH-iJkL-mNoPqR"
HANDLE = "66c20073-pvc-0b6b2a4e-5d3c-4f0e-9c39-1d2b8f3e7a61"
"""Of a volume in that volume group."""

PV = HANDLE[9:]
SERIAL = "3f9c2a71d04be8815c6a"
TIME = "2026-11-28T09:00:00Z"


def metadata(name: str, namespace: str = "", **more: object) -> Object:
    where = {"namespace": namespace} if namespace else {}
    return {"name": name, "uid": f"uid-{name}", "creationTimestamp": TIME, **where, **more}


def claim(
    name: str,
    namespace: str = "default",
    *,
    pv: str = "",
    size: str = "10Gi",
    storage_class: str = "csi-lvm-iscsi-block",
) -> Object:
    provisioner = {"volume.kubernetes.io/storage-provisioner": DRIVER}
    bound = {"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": size}}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata(name, namespace, annotations=provisioner),
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": size}},
            "storageClassName": storage_class,
            "volumeMode": "Block",
            **({"volumeName": pv} if pv else {}),
        },
        "status": bound if pv else {"phase": "Pending"},
    }


def volume(
    name: str, handle: str, of: str, namespace: str = "default", *, phase: str = "Bound"
) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": metadata(name),
        "spec": {
            "capacity": {"storage": "10Gi"},
            "claimRef": {"kind": "PersistentVolumeClaim", "name": of, "namespace": namespace},
            "csi": {"driver": DRIVER, "volumeHandle": handle},
            "storageClassName": "csi-lvm-iscsi-block",
        },
        "status": {"phase": phase},
    }


def attachment(pv: str, node: str, *, attached: bool = True, error: str = "") -> Object:
    status: Object = {"attached": attached}
    if error:
        status["attachError"] = {"message": error, "time": TIME}
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "VolumeAttachment",
        "metadata": metadata(f"csi-{node}-{pv[-6:]}"),
        "spec": {"attacher": DRIVER, "nodeName": node, "source": {"persistentVolumeName": pv}},
        "status": status,
    }


def storage_node(name: str, uuid: str = GROUP_UUID, *, ready: str = "") -> Object:
    conditions = [
        {"type": "Ready", "status": "False" if ready else "True", "message": ready},
        {"type": "PoolsHealthy", "status": "True", "message": ""},
        {"type": "VolumeGroupConflict", "status": "False", "message": ""},
    ]
    return {
        "apiVersion": f"{DRIVER}/v1alpha1",
        "kind": "StorageNode",
        "metadata": metadata(name),
        "spec": {
            "schedulable": True,
            "retired": False,
            "volumeGroups": [{"name": "vg0", "uuid": uuid}],
        },
        "status": {
            "conditions": [
                {"lastTransitionTime": TIME, "reason": "Answered", **each} for each in conditions
            ]
        },
    }


def pod(
    name: str,
    namespace: str = "default",
    *,
    node: str = "",
    claims: tuple[str, ...] = (),
    labels: Object | None = None,
    phase: str = "Running",
    waits: str = "",
) -> Object:
    volumes = [
        {"name": f"v{number}", "persistentVolumeClaim": {"claimName": each}}
        for number, each in enumerate(claims)
    ]
    ready = phase == "Running" and not waits
    state = {"waiting": {"reason": waits}} if waits else {"running": {"startedAt": TIME}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata(name, namespace, labels=labels or {}),
        "spec": {"containers": [{"name": "app"}], "volumes": volumes, "nodeName": node},
        "status": {
            "phase": phase,
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
            "containerStatuses": [{"name": "app", "ready": ready, "state": state}],
        },
    }


def role_pod(role: str, node: str, *, waits: str = "") -> Object:
    labels = {
        "app.kubernetes.io/name": "csi-lvm-iscsi",
        "app.kubernetes.io/component": role,
    }
    name = f"csi-lvm-iscsi-{role}-{node}"
    return pod(name, "csi-lvm-iscsi", node=node, labels=labels, waits=waits)


def workload(kind: str, role: str, selector: Object | None = None) -> Object:
    labels = role_pod(role, "")["metadata"]["labels"]
    spec = {"nodeSelector": selector} if selector else {}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": metadata(f"csi-lvm-iscsi-{role}", "csi-lvm-iscsi", labels=labels),
        "spec": {"template": {"spec": spec}},
    }


def node(name: str, **labels: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": metadata(name, labels={"kubernetes.io/os": "linux", **labels}),
    }


def event(of: Object, kind: str, reason: str, message: str, *, when: str = TIME) -> Object:
    involved = {key: of["metadata"][key] for key in ("name", "namespace", "uid")}
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": metadata(f"{of['metadata']['name']}.1", of["metadata"]["namespace"]),
        "involvedObject": {"kind": of["kind"], **involved},
        "type": kind,
        "reason": reason,
        "message": message,
        "lastTimestamp": when,
    }


def guest(name: str, node_name: str, *claims: str, namespace: str = "default") -> Object:
    """A VirtualMachineInstance."""
    volumes = [{"name": each, "persistentVolumeClaim": {"claimName": each}} for each in claims]
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": metadata(name, namespace),
        "spec": {"domain": {}, "volumes": volumes},
        "status": {"phase": "Running", "nodeName": node_name},
    }


def hotplug(
    claim_name: str,
    machine: str,
    phase: str = "",
    message: str = "",
    *,
    reason: str = "",
    serial: str = SERIAL,
    **spec: object,
) -> Object:
    found: Object = {
        "apiVersion": f"{DRIVER}/v1alpha1",
        "kind": "VolumeHotplug",
        "metadata": metadata(f"{machine}-{claim_name}", "default", resourceVersion="6"),
        "spec": {
            "claimName": claim_name,
            "virtualMachineName": machine,
            "bus": "scsi",
            "readOnly": False,
            "force": False,
            **spec,
        },
    }
    if phase:
        attached = phase == "Attached"
        condition = {
            "type": "Attached",
            "status": "True" if attached else "False",
            "reason": reason or ("Attached" if attached else "Waiting"),
            "message": message,
            "lastTransitionTime": TIME,
        }
        seen = {"device": "sda", "serial": serial, "node": "compute-1"} if attached else {}
        found["status"] = {"phase": phase, "conditions": [condition], **seen}
    return found
