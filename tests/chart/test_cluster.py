"""What a real API server says of the chart: its objects, its API, its rights, its life."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml

from tests.chart import cluster
from tests.chart.charts import EVERYTHING, MINIMAL, NAMESPACE, VARIANTS, rendered
from tests.chart.releases import release

_ACCOUNT = "system:serviceaccount:" + NAMESPACE + ":csi-lvm-iscsi-"
_LEASE = "csi-lvm-iscsi-github-io"
_STORAGE_LABEL = "csi-lvm-iscsi.node-restriction.kubernetes.io/storage=true"


@pytest.mark.parametrize("variant", VARIANTS)
def test_server_takes_every_object(api: cluster.Cluster, variant: str) -> None:
    """Strictly: an unknown field is an error. Before the chart is installed by what follows: the
    variants differ in what nobody can change in a class."""
    objects = rendered(VARIANTS[variant])
    output = api.kubectl(
        "apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict",
        "--filename=-", stdin=yaml.safe_dump_all(objects),
    )  # fmt: skip
    assert len(output.splitlines()) == len(objects)


_RIGHTS = [
    ("controller", "list", "storagenodes", True),
    ("controller", "patch", "storagenodes", False),
    ("controller", "get", "csinodes", True),
    ("controller", "create", "persistentvolumes", True),
    ("controller", "patch", "volumeattachments/status", True),
    ("controller", "create", "leases -n " + NAMESPACE, True),
    *(
        ("controller", "update", f"leases/{each}{_LEASE} -n {NAMESPACE}", True)
        for each in (
            "",
            "external-attacher-leader-",
            "external-resizer-",
            "external-snapshotter-leader-",
        )
    ),
    ("controller", "get", f"leases/{_LEASE} -n {NAMESPACE}", True),
    ("controller", "delete", f"leases/{_LEASE} -n {NAMESPACE}", False),
    ("controller", "update", "leases/csi-lvm-iscsi-operator -n " + NAMESPACE, False),
    ("controller", "get", "leases/another -n " + NAMESPACE, False),
    ("controller", "watch", "endpointslices -n " + NAMESPACE, True),
    ("controller", "create", "csistoragecapacities -n " + NAMESPACE, False),
    ("controller", "get", "pods -n " + NAMESPACE, False),
    ("controller", "list", "endpointslices -n default", False),
    ("controller", "get", "secrets -n " + NAMESPACE, False),
    ("controller", "list", "pods -n default", False),
    ("controller", "create", "pods -n " + NAMESPACE, False),
    ("controller", "delete", "nodes", False),
    ("operator", "create", "storagenodes", True),
    ("operator", "patch", "storagenodes/status", True),
    ("operator", "delete", "storagenodes", False),
    ("operator", "get", "nodes", True),
    ("operator", "list", "nodes", False),
    ("operator", "patch", "nodes", False),
    ("operator", "patch", "volumehotplugs -n default", True),
    ("operator", "patch", "volumehotplugs/status -n default", True),
    ("operator", "delete", "volumehotplugs -n default", False),
    ("operator", "create", "volumehotplugs -n default", False),
    ("operator", "list", "persistentvolumeclaims -n default", True),
    ("operator", "patch", "persistentvolumeclaims -n default", True),
    ("operator", "delete", "persistentvolumeclaims -n default", False),
    ("operator", "list", "storageclasses", True),
    ("operator", "patch", "storageclasses", False),
    ("operator", "get", "persistentvolumes", True),
    ("operator", "list", "volumeattachments", True),
    ("operator", "patch", "volumeattachments", False),
    ("operator", "list", "pods -n default", True),
    ("operator", "create", "pods -n default", False),
    ("operator", "list", "events -n default", True),
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
    release(installed, "upgrade", "--no-hooks", "--force-conflicts", values=EVERYTHING)
    assert "READY" in installed.kubectl("get", "storagenodes")
    classes = installed.kubectl("get", "storageclass", "-o", "name").split()
    names = ("csi-lvm-iscsi-block", "csi-lvm-iscsi-thin", "fast")
    assert classes == [f"storageclass.storage.k8s.io/{name}" for name in names]

    release(installed, "uninstall", "--no-hooks")
    kinds = "all,serviceaccount,role,rolebinding,cronjob,poddisruptionbudget,configmap"
    left = installed.kubectl("-n", NAMESPACE, "get", kinds, "-o", "name")
    assert "csi-lvm-iscsi" not in left
    for kind in ("clusterrole", "clusterrolebinding", "storageclass", "csidriver"):
        assert "csi-lvm-iscsi" not in installed.kubectl("get", kind, "-o", "name"), kind
    installed.kubectl("-n", NAMESPACE, "get", "secret", keys)
    installed.kubectl("get", "storagenode", "storage-1")

    release(installed, "install", "--no-hooks", values=MINIMAL)
    installed.kubectl("get", "storagenode", "storage-1")


def test_upgrade_waits_for_bootstrap_and_takes_its_rights_away(installed: cluster.Cluster) -> None:
    """What stands for the Job's controller says here that it has ended."""
    account = "serviceaccount/csi-lvm-iscsi-bootstrap-hook"
    with ThreadPoolExecutor(1) as pool:
        upgrade = pool.submit(release, installed, "upgrade", values=MINIMAL)
        job = "job/csi-lvm-iscsi-bootstrap"
        installed.kubectl("-n", NAMESPACE, "wait", "--for=create", job, "--timeout=30s")
        installed.kubectl("-n", NAMESPACE, "get", account)
        assert not upgrade.done()
        _finish(installed, job)
        upgrade.result(60)
    left = installed.kubectl(
        "-n", NAMESPACE, "get", "job,serviceaccount,role,rolebinding", "-o", "name"
    )
    assert "hook" not in left
    assert "job" not in left
    assert "serviceaccount/csi-lvm-iscsi-bootstrap" in left.split()


def _finish(api: cluster.Cluster, job: str) -> None:
    now = "2026-11-24T00:00:00Z"
    conditions = [
        {"type": kind, "status": "True", "lastTransitionTime": now}
        for kind in ("SuccessCriteriaMet", "Complete")
    ]
    status = {
        "startTime": now,
        "completionTime": now,
        "succeeded": 1,
        "uncountedTerminatedPods": {},
        "conditions": conditions,
    }
    api.kubectl(
        "-n", NAMESPACE, "patch", job, "--subresource=status", "--type=merge",
        "--patch", json.dumps({"status": status}),
    )  # fmt: skip


@pytest.fixture
def host(installed: cluster.Cluster) -> Iterator[str]:
    """A node that is no storage host yet."""
    labels = {"kubernetes.io/os": "linux"}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "host-1", "labels": labels}}
    installed.kubectl("create", "--filename=-", stdin=yaml.safe_dump(node))
    yield "host-1"
    installed.kubectl("delete", "node", "host-1")


def test_notes_tell_what_lacks(installed: cluster.Cluster, host: str) -> None:
    def notes() -> str:
        output = release(installed, "upgrade", "--no-hooks", values=MINIMAL)
        return output.partition("NOTES:")[2]

    assert "NO NODE IS A STORAGE HOST YET" in notes()
    installed.kubectl("label", "node", host, _STORAGE_LABEL)
    assert "NO NODE IS A STORAGE HOST YET" not in notes()


def test_an_upgrade_that_would_end_tgtd_on_a_host_is_refused(
    installed: cluster.Cluster, host: str
) -> None:
    """The controller of DaemonSets deletes its pods where the selector does not fit any more."""
    installed.kubectl("label", "node", host, _STORAGE_LABEL)
    values = {"storage": {**MINIMAL["storage"], "nodeSelector": {"example.com/disks": "many"}}}
    refused = release(installed, "upgrade", "--no-hooks", values=values, expect=1)
    assert f"storage.nodeSelector would leave out {host}." in refused
    (advice,) = [each.split() for each in refused.splitlines() if "kubectl label" in each]
    installed.kubectl(*advice[1:])
    release(installed, "upgrade", "--no-hooks", values=values)
    release(installed, "upgrade", "--no-hooks", values=MINIMAL)
