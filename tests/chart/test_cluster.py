"""What a real API server says of the chart: its objects, its API, its rights, its life."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.chart import cluster
from tests.chart.charts import (
    CHART,
    EVERYTHING,
    MINIMAL,
    NAMESPACE,
    VARIANTS,
    binary,
    helm,
    rendered,
)

if not all(map(binary, ("etcd", "kube-apiserver", "kubectl"))):
    pytest.skip("needs etcd, kube-apiserver and kubectl of the lab", allow_module_level=True)

_FOREIGN = {
    "snapshot.storage.k8s.io/v1": ["VolumeSnapshotClass:Cluster"],
    "monitoring.coreos.com/v1": ["PodMonitor:Namespaced", "PrometheusRule:Namespaced"],
}
_ACCOUNT = "system:serviceaccount:" + NAMESPACE + ":csi-lvm-iscsi-"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[cluster.Cluster]:
    with cluster.running(tmp_path_factory.mktemp("cluster")) as running:
        running.kubectl("create", "namespace", NAMESPACE)
        crds = [_foreign(group, kind) for group, kinds in _FOREIGN.items() for kind in kinds]
        running.kubectl("apply", "--filename=-", stdin=yaml.safe_dump_all(crds))
        running.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        yield running


@pytest.fixture(scope="module")
def installed(api: cluster.Cluster) -> cluster.Cluster:
    """The chart without hooks: nothing runs a Job here."""
    _helm(api, "install", "--no-hooks", values=MINIMAL)
    crd = "crd/storagenodes.csi-lvm-iscsi.github.io"
    api.kubectl("wait", "--for=condition=Established", crd, "--timeout=30s")
    return api


def _foreign(group_version: str, kind_scope: str) -> dict[str, Any]:
    """A CRD that stands for one of another project: what its objects hold is not looked at."""
    group, _, version = group_version.partition("/")
    kind, _, scope = kind_scope.partition(":")
    plural = kind.lower() + ("es" if kind.endswith("s") else "s")
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{plural}.{group}",
            "annotations": {"api-approved.kubernetes.io": "unapproved, a stand-in"},
        },
        "spec": {
            "group": group,
            "scope": scope,
            "names": {"kind": kind, "plural": plural},
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }


def _helm(
    api: cluster.Cluster, verb: str, *arguments: str, values: dict[str, Any] | None = None
) -> str:
    chart = [str(CHART)] if verb in ("install", "upgrade") else []
    return helm(
        verb, CHART.name, *chart, "--namespace", NAMESPACE, "--kubeconfig", str(api.kubeconfig),
        "--timeout", "60s", *arguments, values=values,
    )  # fmt: skip


@pytest.mark.parametrize("variant", VARIANTS)
def test_server_takes_every_object(api: cluster.Cluster, variant: str) -> None:
    """Strictly: an unknown field is an error."""
    objects = rendered(VARIANTS[variant])
    output = api.kubectl(
        "apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict",
        "--filename=-", stdin=yaml.safe_dump_all(objects),
    )  # fmt: skip
    assert len(output.splitlines()) == len(objects)


def _storage_node(**spec: Any) -> dict[str, Any]:  # noqa: ANN401
    return {
        "apiVersion": "csi-lvm-iscsi.github.io/v1alpha1",
        "kind": "StorageNode",
        "metadata": {"name": "storage-1"},
        "spec": spec,
    }


def _uuid(letter: str) -> str:
    return "-".join([letter * 6, *[letter * 4] * 5, letter * 6])


_GROUPS = [{"name": "vg0", "uuid": _uuid("a")}, {"name": "vg1", "uuid": _uuid("b")}]
_STATUS: dict[str, Any] = {
    "observedGeneration": 1,
    "version": "0.1.0",
    "address": "10.77.0.11:9740",
    "zone": "",
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


@pytest.fixture
def storage_node(installed: cluster.Cluster) -> Iterator[cluster.Cluster]:
    node = yaml.safe_dump(_storage_node(volumeGroups=_GROUPS))
    installed.kubectl("create", "--filename=-", stdin=node)
    yield installed
    installed.kubectl("delete", "storagenode", "storage-1")


def _patch_status(api: cluster.Cluster, expect: int = 0, **status: Any) -> str:  # noqa: ANN401
    return api.kubectl(
        "patch", "storagenode", "storage-1", "--subresource=status", "--type=merge",
        "--patch", json.dumps({"status": status}), expect=expect,
    )  # fmt: skip


def test_storage_node_is_schedulable_and_not_retired_unless_told(
    storage_node: cluster.Cluster,
) -> None:
    spec = json.loads(storage_node.kubectl("get", "lsn", "storage-1", "-o", "json"))["spec"]
    assert spec == {"schedulable": True, "retired": False, "volumeGroups": _GROUPS}


def test_storage_node_tells_how_full_it_is(storage_node: cluster.Cluster) -> None:
    _patch_status(storage_node, **_STATUS)
    columns, row = storage_node.kubectl("get", "storagenodes").splitlines()
    assert columns.split()[:-1] == [
        "NAME", "READY", "SCHEDULABLE", "CAPACITY", "FREE", "USED%", "VOLUMES", "VERSION",
    ]  # fmt: skip
    assert row.split()[:-1] == [
        "storage-1", "True", "true", str(1 << 40), str(1 << 39), "50.1", "3", "0.1.0",
    ]  # fmt: skip
    wide = storage_node.kubectl("get", "storagenodes", "-o", "wide")
    assert "10.77.0.11:9740" in wide


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"schedulable": "no"}, "must be of type boolean"),
        ({"volumeGroups": [{"name": "vg0", "uuid": "abc"}]}, "should match"),
        ({"volumeGroups": [{"name": "vg 0", "uuid": _uuid("a")}]}, "should match"),
        ({"volumeGroups": [{"name": "vg0"}]}, "uuid: Required value"),
        ({"volumeGroups": [_GROUPS[0], {"name": "vg1", "uuid": _uuid("a")}]}, "Duplicate value"),
        (
            {"volumeGroups": [_GROUPS[0], {"name": "vg0", "uuid": _uuid("b")}]},
            "Two volume groups of a host have the same name",
        ),
        ({"cordoned": True}, 'unknown field "spec.cordoned"'),
    ],
)
def test_storage_node_refuses_a_spec(
    installed: cluster.Cluster, spec: dict[str, Any], message: str
) -> None:
    node = yaml.safe_dump(_storage_node(**spec))
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
        ({"zone": "-a"}, "should match"),
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


_RIGHTS = [
    ("controller", "list", "storagenodes", True),
    ("controller", "patch", "storagenodes", False),
    ("controller", "get", "csinodes", True),
    ("controller", "create", "persistentvolumes", True),
    ("controller", "patch", "volumeattachments/status", True),
    ("controller", "create", "leases -n " + NAMESPACE, True),
    ("controller", "watch", "endpointslices -n " + NAMESPACE, True),
    ("controller", "create", "csistoragecapacities -n " + NAMESPACE, True),
    ("controller", "list", "endpointslices -n default", False),
    ("controller", "get", "secrets -n " + NAMESPACE, False),
    ("controller", "list", "pods -n default", False),
    ("controller", "create", "pods -n " + NAMESPACE, False),
    ("controller", "delete", "nodes", False),
    ("operator", "create", "storagenodes", True),
    ("operator", "patch", "storagenodes/status", True),
    ("operator", "delete", "storagenodes", False),
    ("operator", "get", "nodes", True),
    ("operator", "patch", "nodes", False),
    ("operator", "create", "events -n default", True),
    ("operator", "update", "leases/csi-lvm-iscsi-operator -n " + NAMESPACE, True),
    ("operator", "update", "leases/another -n " + NAMESPACE, False),
    ("operator", "list", "persistentvolumes", False),
    ("operator", "get", "secrets -n " + NAMESPACE, False),
    ("bootstrap", "create", "secrets -n " + NAMESPACE, True),
    ("bootstrap", "update", "secrets/csi-lvm-iscsi-ca -n " + NAMESPACE, True),
    ("bootstrap", "get", "secrets/csi-lvm-iscsi-chap-keys -n " + NAMESPACE, True),
    ("bootstrap", "get", "secrets/another -n " + NAMESPACE, False),
    ("bootstrap", "list", "secrets -n " + NAMESPACE, False),
    ("bootstrap", "delete", "secrets/csi-lvm-iscsi-ca -n " + NAMESPACE, False),
    ("bootstrap", "create", "secrets -n default", False),
    *(
        (role, verb, what, False)
        for role in ("storage", "tgtd", "node")
        for verb, what in (
            ("get", "secrets -n " + NAMESPACE),
            ("get", "nodes"),
            ("list", "storagenodes"),
            ("list", "volumeattachments"),
            ("list", "pods -n " + NAMESPACE),
        )
    ),
]


@pytest.mark.parametrize(("role", "verb", "what", "allowed"), _RIGHTS)
def test_rights(
    installed: cluster.Cluster, role: str, verb: str, what: str, *, allowed: bool
) -> None:
    answer = installed.kubectl(
        "auth", "can-i", f"--as={_ACCOUNT}{role}", verb, *what.split(), expect=0 if allowed else 1
    )
    assert ("yes" if allowed else "no") in answer.splitlines()


@pytest.mark.usefixtures("storage_node")
def test_life_of_a_release(installed: cluster.Cluster) -> None:
    """Upgraded, uninstalled and installed again: keys and storage hosts stay."""
    keys = "csi-lvm-iscsi-chap-keys"
    installed.kubectl("-n", NAMESPACE, "create", "secret", "generic", keys, "--from-literal=k1=x")
    crd = "crd/storagenodes.csi-lvm-iscsi.github.io"
    old = [{"op": "remove", "path": "/spec/versions/0/additionalPrinterColumns"}]
    installed.kubectl("patch", crd, "--type=json", f"--patch={json.dumps(old)}")

    # Zones change the binding mode, which nobody can change in a class.
    installed.kubectl("delete", "storageclass", "-l", "app.kubernetes.io/name=csi-lvm-iscsi")
    _helm(installed, "upgrade", "--no-hooks", "--force-conflicts", values=EVERYTHING)
    assert "READY" in installed.kubectl("get", "storagenodes")
    classes = installed.kubectl("get", "storageclass", "-o", "name").split()
    names = ("csi-lvm-iscsi-block", "csi-lvm-iscsi-thin", "fast")
    assert classes == [f"storageclass.storage.k8s.io/{name}" for name in names]

    _helm(installed, "uninstall", "--no-hooks")
    kinds = "all,serviceaccount,role,rolebinding,cronjob,poddisruptionbudget,configmap"
    left = installed.kubectl("-n", NAMESPACE, "get", kinds, "-o", "name")
    assert "csi-lvm-iscsi" not in left
    for kind in ("clusterrole", "clusterrolebinding", "storageclass", "csidriver"):
        assert "csi-lvm-iscsi" not in installed.kubectl("get", kind, "-o", "name"), kind
    installed.kubectl("-n", NAMESPACE, "get", "secret", keys)
    installed.kubectl("get", "storagenode", "storage-1")

    _helm(installed, "install", "--no-hooks", values=MINIMAL)
    installed.kubectl("get", "storagenode", "storage-1")


def test_notes_tell_what_lacks(installed: cluster.Cluster) -> None:
    def notes() -> str:
        output = _helm(installed, "upgrade", "--no-hooks", values=MINIMAL)
        return output.partition("NOTES:")[2]

    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "host-1"}}
    installed.kubectl("apply", "--filename=-", stdin=yaml.safe_dump(node))
    assert "NO NODE IS A STORAGE HOST YET" in notes()
    installed.kubectl("label", "node", "host-1", "csi-lvm-iscsi.github.io/storage=true")
    assert "NO NODE IS A STORAGE HOST YET" not in notes()
