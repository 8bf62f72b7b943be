"""A cluster with the chart in it, for the tests that ask a real API server."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import yaml

from tests.chart import cluster
from tests.chart.charts import MINIMAL, NAMESPACE, binary
from tests.chart.releases import GROUPS, release, retire, storage_node_object
from tests.chart.virtual_machines import Admin, connect

_FOREIGN = {
    "snapshot.storage.k8s.io/v1": ["VolumeSnapshotClass:Cluster"],
    "monitoring.coreos.com/v1": ["PodMonitor:Namespaced", "PrometheusRule:Namespaced"],
}


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[cluster.Cluster]:
    if not all(map(binary, ("etcd", "kube-apiserver", "kubectl"))):
        pytest.skip("needs etcd, kube-apiserver and kubectl of the lab")
    with cluster.running(tmp_path_factory.mktemp("cluster")) as running:
        running.kubectl("create", "namespace", NAMESPACE)
        crds = [_foreign(group, kind) for group, kinds in _FOREIGN.items() for kind in kinds]
        running.kubectl("apply", "--filename=-", stdin=yaml.safe_dump_all(crds))
        running.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        yield running


@pytest.fixture(scope="session")
def installed(api: cluster.Cluster) -> cluster.Cluster:
    """The chart without hooks: nothing runs a Job here."""
    release(api, "install", "--no-hooks", values=MINIMAL)
    api.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
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


@pytest.fixture
def storage_node(installed: cluster.Cluster) -> Iterator[cluster.Cluster]:
    node = yaml.safe_dump(storage_node_object(volumeGroups=GROUPS))
    installed.kubectl("create", "--filename=-", stdin=node)
    yield installed
    retire(installed, "storage-1")
    installed.kubectl("delete", "storagenode", "storage-1")


@pytest.fixture
async def admin(installed: cluster.Cluster) -> AsyncIterator[Admin]:
    api = await connect(installed.kubeconfig)
    yield api
    await api.close()
    await asyncio.sleep(0.25)  # TLS ends some moments after close (aiohttp, "Graceful Shutdown").
