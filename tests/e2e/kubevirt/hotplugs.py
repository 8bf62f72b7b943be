"""A VolumeHotplug as the tests look at it, and what is on the storage host of its volume."""

from __future__ import annotations

from tests.e2e.kubernetes.manifests import Object
from tests.e2e.kubernetes.user import User
from tests.e2e.kubevirt.machine import PATIENCE, VirtualMachine
from tests.e2e.lab.kubevirt.cluster import KubeVirtCluster


def attached(user: User, name: str) -> None:
    user.wait("condition=Attached", f"vhp/{name}", seconds=PATIENCE)


def detach(user: User, machine: VirtualMachine, claim_name: str, disk: str = "sda") -> None:
    """Until the guest has lost the disk; the claim goes, too."""
    user.delete(f"vhp/{machine.name}-{claim_name}", seconds=PATIENCE)
    assert machine.hear("is gone")[-1] == f"{disk} is gone"
    user.delete(f"pvc/{claim_name}")


def nonces(user: User, claim_name: str) -> dict[str, str]:
    """What the credentials of each node are made of that the claim's volume is attached to."""
    volume = user.get(f"pvc/{claim_name}")["spec"]["volumeName"]
    return {
        each["spec"]["nodeName"]: each["status"]["attachmentMetadata"]["nonce"]
        for each in user.get("volumeattachments")["items"]
        if each["spec"]["source"]["persistentVolumeName"] == volume
    }


def targets(cluster: KubeVirtCluster, volume_id: str) -> list[str]:
    """The targets of a volume: one for each node that may have it."""
    shown = "TGT_IPC_SOCKET=/run/csi-lvm-iscsi/tgtd/socket tgtadm --mode target --op show"
    lines = cluster.host("storage-1").exec("sh", "-c", shown).check().text.splitlines()
    return [line for line in lines if line.startswith("Target ") and volume_id in line]


def kill_operator(cluster: KubeVirtCluster) -> None:
    """Kubelet starts it again."""
    killed = [
        host.exec("pkill", "-KILL", "-f", "csi-lvm-iscsi operator").status == 0
        for host in cluster.hosts.values()
    ]
    assert any(killed), "there was no operator"


def message(user: User, name: str) -> str:
    """That of the condition Attached."""
    return str(_condition(user, name).get("message", ""))


def reason(user: User, name: str) -> str:
    """That of the condition Attached."""
    return str(_condition(user, name).get("reason", ""))


def _condition(user: User, name: str) -> Object:
    conditions = user.get(f"volumehotplug/{name}").get("status", {}).get("conditions", [])
    return next((each for each in conditions if each["type"] == "Attached"), {})
