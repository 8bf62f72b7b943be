"""Whose a pod is, and what it uses."""

from collections.abc import Iterable

from csi_lvm_iscsi.storage_client.api_server import Object

_ENDED = frozenset({"Succeeded", "Failed"})


def uses(pod: Object, claim: str) -> bool:
    """Whether a pod uses a claim."""
    volumes = pod["spec"].get("volumes") or ()
    return any(
        (each.get("persistentVolumeClaim") or {}).get("claimName") == claim for each in volumes
    )


def others(pods: Iterable[Object], claim: str, machine: str) -> list[str]:
    """Names of the pods that use a claim and have not ended, but for those of a machine: its
    virt-launchers, which its instance owns, and its attachment pods, which those own
    (pkg/virt-controller/services/template.go)."""
    pods = list(pods)
    launchers = {
        each["metadata"].get("uid", "")
        for each in pods
        if _is_owned(each, "VirtualMachineInstance", "name", {machine})
    }
    return sorted(
        each["metadata"]["name"]
        for each in pods
        if uses(each, claim)
        and each.get("status", {}).get("phase") not in _ENDED
        and each["metadata"].get("uid", "") not in launchers
        and not _is_owned(each, "Pod", "uid", launchers)
    )


def _is_owned(pod: Object, kind: str, field: str, owners: set[str]) -> bool:
    references: list[Object] = pod["metadata"].get("ownerReferences") or []
    return any(each.get("kind") == kind and each.get(field) in owners for each in references)
