"""The StorageNode API: what it takes, refuses and shows."""

import json
from typing import Any

import pytest
import yaml

from tests.chart import cluster
from tests.chart.releases import GROUPS, retire, storage_node_object, uuid

_STATUS: dict[str, Any] = {
    "observedGeneration": 1,
    "version": "0.1.0",
    "address": "10.77.0.11:9740",
    "portals": ["10.77.0.11:3260", "[fd00:77::11]:3260"],
    "volumeGroups": [{"name": "vg0", "sizeBytes": 1 << 40, "freeBytes": 0}],
    "pools": [
        {
            "name": "vg0/pool",
            "type": "thin",
            "sizeBytes": 1 << 40,
            "freeBytes": 1 << 39,
            "dataPercent": 50,
            "metadataPercent": 12.5,
            "reclaimingBytes": 0,
        },
        {"name": "vg1", "type": "thick", "sizeBytes": 1, "freeBytes": 1, "reclaimingBytes": 1},
    ],
    "volumes": 3,
    "capacityBytes": 1 << 40,
    "freeBytes": 1 << 39,
    "usedPercent": 50.1,
    "capacity": "1TiB",
    "free": "512GiB",
    "used": "50.1%",
    "reclaiming": "1B",
    "conditions": [
        {
            "type": "Ready",
            "status": "True",
            "reason": "Answering",
            "message": "",
            "lastTransitionTime": "2026-11-24T00:00:00Z",
        }
    ],
}


def _patch_status(api: cluster.Cluster, expect: int = 0, **status: Any) -> str:  # noqa: ANN401
    return api.kubectl(
        "patch", "storagenode", "storage-1", "--subresource=status", "--type=merge",
        "--patch", json.dumps({"status": status}), expect=expect,
    )  # fmt: skip


def test_storage_node_is_schedulable_and_not_retired_unless_told(
    storage_node: cluster.Cluster,
) -> None:
    spec = json.loads(storage_node.kubectl("get", "lsn", "storage-1", "-o", "json"))["spec"]
    assert spec == {"schedulable": True, "retired": False, "volumeGroups": GROUPS}


def test_storage_node_tells_how_full_it_is(storage_node: cluster.Cluster) -> None:
    _patch_status(storage_node, **_STATUS)
    columns, row = storage_node.kubectl("get", "storagenodes").splitlines()
    assert columns.split()[:-1] == [
        "NAME", "READY", "REASON", "SCHEDULABLE", "CAPACITY", "FREE", "USED", "VOLUMES", "VERSION",
    ]  # fmt: skip
    assert row.split()[:-1] == [
        "storage-1", "True", "Answering", "true", "1TiB", "512GiB", "50.1%", "3", "0.1.0",
    ]  # fmt: skip
    wide = storage_node.kubectl("get", "storagenodes", "-o", "wide")
    assert "10.77.0.11:9740" in wide


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"schedulable": "no"}, "must be of type boolean"),
        ({"volumeGroups": [{"name": "vg0", "uuid": "abc"}]}, "should match"),
        ({"volumeGroups": [{"name": "vg 0", "uuid": uuid("a")}]}, "should match"),
        ({"volumeGroups": [{"name": "vg0"}]}, "uuid: Required value"),
        ({"volumeGroups": [GROUPS[0], {"name": "vg1", "uuid": uuid("a")}]}, "Duplicate value"),
        (
            {"volumeGroups": [GROUPS[0], {"name": "vg0", "uuid": uuid("b")}]},
            "Two volume groups of a host have the same name",
        ),
        ({"zone": "-a"}, "should match"),
        ({"cordoned": True}, 'unknown field "spec.cordoned"'),
    ],
)
def test_storage_node_refuses_a_spec(
    installed: cluster.Cluster, spec: dict[str, Any], message: str
) -> None:
    node = yaml.safe_dump(storage_node_object(**spec))
    output = installed.kubectl(
        "create", "--validate=strict", "--dry-run=server", "--filename=-", stdin=node, expect=1
    )
    assert message in output


@pytest.mark.parametrize(
    ("status", "message"),
    [
        ({"pools": [{"name": "vg0", "type": "thin"}]}, "A thin pool is named VG/POOL"),
        ({"pools": [{"name": "vg0/pool", "type": "thick"}]}, "A thin pool is named VG/POOL"),
        ({"pools": [{"name": "vg0", "type": "fat"}]}, 'supported values: "thin", "thick"'),
        ({"pools": [{"name": "v/p", "type": "thin", "dataPercent": 101}]}, "less than or equal"),
        ({"freeBytes": -1}, "greater than or equal to 0"),
        ({"conditions": [{"type": "Ready", "status": "Yes"}]}, "supported values"),
    ],
)
def test_storage_node_refuses_a_status(
    storage_node: cluster.Cluster, status: dict[str, Any], message: str
) -> None:
    assert message in _patch_status(storage_node, expect=1, **status)


def test_status_is_not_written_with_the_spec(storage_node: cluster.Cluster) -> None:
    storage_node.kubectl(
        "patch", "lsn", "storage-1", "--type=merge", "--patch", '{"status": {"volumes": 9}}'
    )
    assert storage_node.kubectl("get", "lsn", "storage-1", "-o", "jsonpath={.status}") == ""


def test_only_a_retired_storage_node_can_be_deleted(storage_node: cluster.Cluster) -> None:
    """Without it, the volumes of its host would count as deleted."""
    for which in ("storage-1", "--all"):
        refusal = storage_node.kubectl("delete", "storagenodes", which, expect=1)
        assert "volumes of that host count as deleted" in refusal
        assert (
            """kubectl patch storagenode storage-1 --type merge -p '{"spec":{"retired":true}}'"""
            in (refusal)
        )
    storage_node.kubectl("get", "storagenode", "storage-1")
    retire(storage_node, "storage-1")
    storage_node.kubectl("delete", "storagenodes", "--all")
    node = yaml.safe_dump(storage_node_object(volumeGroups=GROUPS))
    storage_node.kubectl("create", "--filename=-", stdin=node)
