"""The chart, and what helm makes of it."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.lab.kubernetes.builds import BIN

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy/helm/csi-lvm-iscsi"
NAMESPACE = "csi-lvm-iscsi"
MINIMAL: dict[str, Any] = {
    "storage": {"portalNetworks": ["10.77.0.0/24"], "thinPools": ["vg0/pool"]}
}
EVERYTHING: dict[str, Any] = {
    "global": {
        "imageRegistry": "registry.example.com/mirror",
        "imagePullSecrets": [{"name": "registry"}],
    },
    "image": {"digest": "sha256:" + "0" * 64},
    "storage": {
        "portalNetworks": ["10.77.0.0/24", "fd00:77::/64"],
        "thinPools": ["vg0/pool", "vg1/fast"],
        "thickVolumeGroups": ["vg2"],
        "overProvision": 1.5,
        "nodeSelector": {"example.com/disks": "many"},
    },
    "node": {"nodeSelector": {"example.com/pods": "yes"}},
    "control": {"nodeSelector": {"example.com/trusted": "yes"}},
    "zones": True,
    "verbose": True,
    "kubeletDir": "/data/kubelet",
    "storageClasses": {
        "csi-lvm-iscsi-thin": {"default": True, "mountOptions": ["noatime"]},
        "csi-lvm-iscsi-thick": None,
        "fast": {
            "parameters": {"volumeGroup": "vg1", "thinPool": "fast"},
            "fsType": "xfs",
            "reclaimPolicy": "Retain",
            "volumeBindingMode": "Immediate",
            "annotations": {"storageclass.kubevirt.io/is-default-virt-class": "true"},
        },
    },
    "monitoring": {
        "podMonitor": True,
        "prometheusRule": True,
        "dashboard": True,
        "labels": {"release": "prometheus"},
    },
}
LEAST: dict[str, Any] = {
    "storage": {"portalNetworks": ["10.77.0.0/24"], "thickVolumeGroups": ["vg2"]},
    "controller": {"replicas": 1},
    "storageClasses": {
        "csi-lvm-iscsi-thin": None,
        "csi-lvm-iscsi-thick": None,
        "csi-lvm-iscsi-block": None,
    },
    "snapshots": {"enabled": False},
    "virtualMachines": False,
}
VARIANTS: Mapping[str, dict[str, Any]] = {
    "minimal": MINIMAL,
    "everything": EVERYTHING,
    "least": LEAST,
}


def binary(name: str) -> Path | None:
    """A program of Kubernetes: of the lab's cache, or on the PATH."""
    found = shutil.which(name, path=f"{BIN}:{os.environ.get('PATH', '')}")
    return Path(found) if found else None


def helm(*arguments: str, values: Mapping[str, Any] | None = None, expect: int = 0) -> str:
    """Run helm with values; gives what it prints. Fails where it ends otherwise than expected."""
    program = binary("helm")
    assert program, (
        "There is no helm: put it on the PATH, or run `python -m tests.e2e.lab.kubernetes.builds`."
    )
    command = [str(program), *arguments, *(["--values", "-"] if values is not None else [])]
    result = subprocess.run(
        command,
        input=yaml.safe_dump(dict(values or {})),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    output = result.stdout if expect == 0 else result.stdout + result.stderr
    assert result.returncode == expect, f"{command}: {result.stdout}{result.stderr}"
    return output


def template(values: Mapping[str, Any]) -> str:
    """The manifests of a release that is named like the chart."""
    return helm(
        "template", CHART.name, str(CHART), "--namespace", NAMESPACE, "--kube-version", "1.37.2",
        values=values,
    )  # fmt: skip


def rendered(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The objects of a release."""
    return [each for each in yaml.safe_load_all(template(values)) if each]


def find(objects: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    """The one object of this kind and name."""
    (found,) = [
        each for each in objects if each["kind"] == kind and each["metadata"]["name"] == name
    ]
    return found


def pods(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The pod specs by KIND/NAME of what makes them."""
    found = {}
    for each in objects:
        spec = each.get("spec", {})
        if each["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        if each["kind"] in ("Deployment", "DaemonSet", "Job", "CronJob"):
            found[f"{each['kind']}/{each['metadata']['name']}"] = spec["template"]["spec"]
    return found
