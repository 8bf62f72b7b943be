"""The VolumeHotplug API: what it takes, refuses and shows."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.chart import cluster

_SPEC = {"claimName": "data", "virtualMachineName": "c2"}
_STATUS: dict[str, Any] = {
    "observedGeneration": 1,
    "phase": "Attached",
    "device": "sda",
    "serial": "0123456789abcdef0123",
    "node": "compute-1",
    "attachmentPod": "hp-volume-abcde",
    "volumeName": "data",
    "attachedAt": "2026-11-28T00:00:00Z",
    "conditions": [
        {
            "type": "Attached",
            "status": "True",
            "reason": "Attached",
            "message": "The guest has claim data, disk sda of KubeVirt.",
            "lastTransitionTime": "2026-11-28T00:00:00Z",
        }
    ],
}


def _object(**spec: Any) -> str:  # noqa: ANN401
    return yaml.safe_dump(
        {
            "apiVersion": "csi-lvm-iscsi.github.io/v1alpha1",
            "kind": "VolumeHotplug",
            "metadata": {"name": "c2-data", "namespace": "default"},
            "spec": spec,
        }
    )


@pytest.fixture
def hotplug(installed: cluster.Cluster) -> Iterator[cluster.Cluster]:
    installed.kubectl("create", "--filename=-", stdin=_object(**_SPEC))
    yield installed
    installed.kubectl("delete", "vhp", "c2-data")


def test_it_is_scsi_and_for_writing_unless_told(hotplug: cluster.Cluster) -> None:
    spec = json.loads(hotplug.kubectl("get", "vhp", "c2-data", "-o", "json"))["spec"]
    assert spec == {**_SPEC, "bus": "scsi", "readOnly": False, "force": False}


def test_it_reads_like_a_list_of_attachments(hotplug: cluster.Cluster) -> None:
    hotplug.kubectl(
        "patch", "vhp", "c2-data", "--subresource=status", "--type=merge",
        "--patch", json.dumps({"status": _STATUS}),
    )  # fmt: skip
    columns, row = hotplug.kubectl("get", "vhp").splitlines()
    assert columns.split()[:-1] == ["NAME", "CLAIM", "VM", "PHASE", "DEVICE", "NODE", "REASON"]
    assert row.split()[:-1] == [
        "c2-data", "data", "c2", "Attached", "sda", "compute-1", "Attached",
    ]  # fmt: skip
    wide = hotplug.kubectl("get", "vhp", "-o", "wide")
    assert "0123456789abcdef0123" in wide
    assert "The guest has claim data, disk sda of KubeVirt." in wide


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"claimName": "other"}, "The claim stays the same. Delete this VolumeHotplug and make"),
        ({"virtualMachineName": "c3"}, "The virtual machine stays the same."),
        ({"bus": "virtio"}, "The bus stays the same."),
        ({"readOnly": True}, "This stays the same."),
        ({"serial": "S"}, "The serial number is settled when a volume is attached."),
    ],
)
def test_only_force_can_be_changed(
    hotplug: cluster.Cluster, change: dict[str, Any], message: str
) -> None:
    patch = json.dumps({"spec": change})
    command = ("patch", "vhp", "c2-data", "--type=merge", "--patch")
    assert message in hotplug.kubectl(*command, patch, expect=1)
    hotplug.kubectl(*command, '{"spec":{"force":true}}')


@pytest.mark.parametrize(
    ("serial", "message"),
    [
        ("other", "The serial number stays the same."),
        (None, "The serial number is settled when a volume is attached."),
    ],
)
def test_a_serial_number_that_is_set_stays(
    installed: cluster.Cluster, serial: str | None, message: str
) -> None:
    installed.kubectl("create", "--filename=-", stdin=_object(**_SPEC, serial="S"))
    patch = json.dumps({"spec": {"serial": serial}})
    command = ("patch", "vhp", "c2-data", "--type=merge", "--patch", patch)
    output = installed.kubectl(*command, expect=1)
    installed.kubectl("delete", "vhp", "c2-data")
    assert message in output


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"claimName": "data"}, "spec.virtualMachineName: Required value"),
        ({"virtualMachineName": "c2"}, "spec.claimName: Required value"),
        ({**_SPEC, "bus": "sata"}, 'supported values: "scsi", "virtio"'),
        ({**_SPEC, "serial": "a" * 21}, "Too long"),
        ({**_SPEC, "serial": "a b"}, "should match"),
        ({**_SPEC, "claimName": "A"}, "should match"),
        ({**_SPEC, "cache": "none"}, 'unknown field "spec.cache"'),
    ],
)
def test_refuses_a_spec(installed: cluster.Cluster, spec: dict[str, Any], message: str) -> None:
    output = installed.kubectl(
        "create", "--validate=strict", "--dry-run=server", "--filename=-",
        stdin=_object(**spec), expect=1,
    )  # fmt: skip
    assert message in output


def test_it_is_of_a_namespace(installed: cluster.Cluster) -> None:
    resources = installed.kubectl(
        "api-resources", "--api-group=csi-lvm-iscsi.github.io", "--namespaced=true", "-o", "name"
    )
    assert resources.split() == ["volumehotplugs.csi-lvm-iscsi.github.io"]
