"""The roles with the chart's own arguments, accounts and Secrets, before a real API server: all
that they ask of it is allowed, and nothing is that they do not ask."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from grpc import aio

from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.rpc.pb import csi_pb2, csi_pb2_grpc
from tests.chart import cluster, hotplug_rights
from tests.chart.charts import MINIMAL, NAMESPACE, ROOT, rendered
from tests.chart.releases import retire
from tests.chart.roles import Role, mounted
from tests.chart.virtual_machines import Admin
from tests.unit.cluster.storage_hosts import UUIDS, StorageHost, own_address
from tests.unit.cluster.world import SERVICE, endpoint_slice, until

_ZONES = {**MINIMAL, "zones": True}
_HOST, _ZONE = "storage-9", "hall-1"
_ACCOUNT = f"system:serviceaccount:{NAMESPACE}:"
# What of the controller's rights is not of a sidecar.
_OWN_OF_CONTROLLER = {
    ("csi-lvm-iscsi.github.io", "storagenodes"),
    ("discovery.k8s.io", "endpointslices"),
}
Right = tuple[str, str, str]
"""API group, resource and verb."""


@pytest.fixture
def zoned(installed: cluster.Cluster) -> Iterator[cluster.Cluster]:
    """With the rights that zones need, and a host in one."""

    def rights(values: dict[str, Any]) -> str:
        return yaml.safe_dump_all(
            each for each in rendered(values) if each["kind"] == "ClusterRole"
        )

    zone = {"topology.kubernetes.io/zone": _ZONE}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": _HOST, "labels": zone}}
    drivers = [{"name": names.DRIVER, "nodeID": _HOST}]
    csi_node = {"apiVersion": "storage.k8s.io/v1", "kind": "CSINode", "spec": {"drivers": drivers}}
    objects = [node, {**csi_node, "metadata": {"name": _HOST}}]
    installed.kubectl("replace", "--filename=-", stdin=rights(_ZONES))
    installed.kubectl("create", "--filename=-", stdin=yaml.safe_dump_all(objects))
    yield installed
    installed.kubectl("delete", "--filename=-", stdin=yaml.safe_dump_all(objects))
    installed.kubectl("replace", "--filename=-", stdin=rights(MINIMAL))


async def test_all_that_the_roles_ask_is_allowed_and_no_more(
    zoned: cluster.Cluster, admin: Admin, tmp_path: Path
) -> None:
    api = zoned
    bootstrap = Role(api, tmp_path, "CronJob", "bootstrap", _ZONES)
    for option in ([], ["--last-chap-key=k2"]):
        async with bootstrap.running(*option) as process:
            assert await process.wait() == 0
    tls = {name: mounted(api, tmp_path, name) for name in ("server-tls", "client-tls")}

    host = StorageHost(_HOST, tls["server-tls"], "a", address=own_address())  # type: ignore[abstract]
    async with host.serving():
        slices = {**endpoint_slice(_HOST, host.port)}
        slices["endpoints"][0]["addresses"] = [own_address()]
        api.kubectl("-n", NAMESPACE, "create", "--filename=-", stdin=yaml.safe_dump(slices))
        operator = Role(api, tmp_path, "Deployment", "operator", _ZONES)
        controller = Role(api, tmp_path, "Deployment", "controller", _ZONES)
        async with operator.running(), controller.running():
            await until(lambda: asyncio.to_thread(_is_ready, api), 60)
            await _attach(controller.socket)
            await hotplug_rights.use(api, admin)
    node = json.loads(api.kubectl("get", "storagenode", _HOST, "-o", "json"))
    assert node["spec"]["zone"] == _ZONE
    assert node["spec"]["volumeGroups"] == [{"name": "vg-a", "uuid": UUIDS["a"]}]

    retire(api, _HOST)
    api.kubectl("delete", "storagenode", _HOST)
    api.kubectl("-n", NAMESPACE, "delete", "endpointslice", f"{SERVICE}-{_HOST}")
    for name in ("ca", "server-tls", "client-tls", "chap-keys"):
        api.kubectl("-n", NAMESPACE, "delete", "secret", f"csi-lvm-iscsi-{name}")

    events = [json.loads(line) for line in api.audit_log.read_text().splitlines()]
    roles = {f"{_ACCOUNT}csi-lvm-iscsi-{role}" for role in ("bootstrap", "operator", "controller")}
    refused = [
        (each["verb"], each["requestURI"], each["responseStatus"])
        for each in events
        if each["responseStatus"]["code"] == 403 and each["user"]["username"] in roles
    ]
    assert refused == []
    for role in ("bootstrap", "operator"):
        assert _used(events, role) == _given(role), role
    used, given = _used(events, "controller"), _given("controller")
    assert used <= given
    assert {each for each in given if each[:2] in _OWN_OF_CONTROLLER} <= used


def _is_ready(api: cluster.Cluster) -> bool:
    column = "jsonpath={.items[*].status.conditions[?(@.type=='Ready')].status}"
    return api.kubectl("get", "storagenodes", "-o", column) == "True"


async def _attach(socket: Path) -> None:
    """As the attacher does. The host of this test has no volumes: it is asked for one, and that is
    all that matters here."""
    request = csi_pb2.ControllerPublishVolumeRequest(
        volume_id=names.volume_id(UUIDS["a"], "pvc-1"),
        node_id=_HOST,
        volume_capability=csi_pb2.VolumeCapability(
            block=csi_pb2.VolumeCapability.BlockVolume(),
            access_mode=csi_pb2.VolumeCapability.AccessMode(
                mode=csi_pb2.VolumeCapability.AccessMode.SINGLE_NODE_WRITER
            ),
        ),
    )
    async with aio.insecure_channel(f"unix://{socket}") as channel:
        stub = csi_pb2_grpc.ControllerStub(channel)
        with pytest.raises(aio.AioRpcError, match="does not have this method"):
            await stub.ControllerPublishVolume(request, wait_for_ready=True, timeout=30)


def _used(events: list[dict[str, Any]], role: str) -> set[Right]:
    """What a role asked for."""
    asked = [
        each for each in events if each["user"]["username"] == f"{_ACCOUNT}csi-lvm-iscsi-{role}"
    ]
    # The rest is what everybody may ask: which APIs there are.
    references = [(each["objectRef"], each["verb"]) for each in asked if "objectRef" in each]
    return {
        (reference.get("apiGroup", ""), _resource(reference), verb)
        for reference, verb in references
    }


def _resource(reference: dict[str, str]) -> str:
    return "/".join(filter(None, (reference["resource"], reference.get("subresource"))))


def _given(role: str) -> set[Right]:
    """What the chart lets a role do."""
    return {
        (group, resource, verb)
        for each in rendered(_ZONES)
        if each["kind"] in ("Role", "ClusterRole")
        and each["metadata"]["name"] == f"csi-lvm-iscsi-{role}"
        for rule in each["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_the_fake_api_server_of_the_unit_tests_is_true(installed: cluster.Cluster) -> None:
    """The tests of membership and operator, over this one."""
    namespace = yaml.safe_dump(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "csi-test"}}
    )
    installed.kubectl("apply", "--filename=-", stdin=namespace)
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "tests/unit/cluster"],
        env={
            **os.environ,
            "CSI_TEST_KUBECONFIG": str(installed.kubeconfig),
            # Read when the client is imported.
            "KUBECONFIG": str(installed.kubeconfig),
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-5000:]
