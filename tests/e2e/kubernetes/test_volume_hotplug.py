"""VolumeHotplugs in a cluster that has no KubeVirt."""

from __future__ import annotations

from tests.e2e.kubernetes.manifests import claim
from tests.e2e.kubernetes.user import User, until

HOTPLUG = {
    "apiVersion": "csi-lvm-iscsi.github.io/v1alpha1",
    "kind": "VolumeHotplug",
    "metadata": {"name": "c2-data"},
    "spec": {"claimName": "data", "virtualMachineName": "c2"},
}


def test_without_kubevirt_it_says_so_and_can_be_deleted(user: User) -> None:
    """The operator is the image's, with its user."""
    user.apply(claim("data", block=True), HOTPLUG)
    assert until(lambda: _reason(user), lambda: "the operator says nothing") == "KubeVirtMissing"
    user.delete("volumehotplug/c2-data")


def _reason(user: User) -> str:
    conditions = user.get("volumehotplug/c2-data").get("status", {}).get("conditions", [])
    return next((each["reason"] for each in conditions if each["type"] == "Attached"), "")
