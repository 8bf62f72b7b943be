"""A Kubernetes cluster as our processes see it: its API server, and storage hosts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from csi_lvm_iscsi.storage_client import storage_node
from csi_lvm_iscsi.storage_client.api_server import ApiError, ApiServer
from csi_lvm_iscsi.storage_client.cluster import Cluster
from tests.unit.cluster.fake_api import FakeApi, Object
from tests.unit.cluster.storage_hosts import ADDRESS, StorageHost

NAMESPACE, SERVICE = "csi-test", "csi-lvm-iscsi-storage"
SLICES = f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices"
CSI_NODES = "/apis/storage.k8s.io/v1/csinodes"
NODES = "/api/v1/nodes"
LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"
EVENTS = "/api/v1/namespaces/default/events"
NewHost = Callable[..., Any]
"""Makes a storage host that serves; with its name and the letters of its volume groups."""


class Kubernetes:
    """The cluster, as its own parts and its admin change it."""

    def __init__(self, api: ApiServer, fake: FakeApi | None) -> None:
        self.api = api
        self.fake = fake

    def cluster(self) -> Cluster:
        return Cluster(self.api, NAMESPACE, SERVICE)

    async def storage_node(self, name: str, **spec: Any) -> Object:  # noqa: ANN401
        made = {
            "apiVersion": storage_node.API_VERSION,
            "kind": storage_node.KIND,
            "metadata": {"name": name},
            "spec": spec,
        }
        return await self.api.create(storage_node.PATH, made)

    async def patch(self, name: str, **spec: Any) -> Object:  # noqa: ANN401
        """As `kubectl patch storagenode --type merge`."""
        return await self.api.merge(f"{storage_node.PATH}/{name}", {"spec": spec})

    async def read(self, name: str) -> Object:
        return await self.api.get(f"{storage_node.PATH}/{name}")

    async def endpoints(self, *hosts: StorageHost) -> None:
        """The endpoints of the storage Service; a slice for each host, as each has a port of its
        own here."""
        for old in (await self.api.get(SLICES))["items"]:
            await self.delete(f"{SLICES}/{old['metadata']['name']}")
        for host in hosts:
            await self.api.create(SLICES, endpoint_slice(host.name, host.port))

    async def csi_node(self, name: str, *drivers: str) -> None:
        spec = {"drivers": [{"name": each, "nodeID": name} for each in drivers]}
        made = {"apiVersion": "storage.k8s.io/v1", "kind": "CSINode", "metadata": {"name": name}}
        await self.api.create(CSI_NODES, {**made, "spec": spec})

    async def node(self, name: str, **labels: str) -> None:
        metadata = {"name": name, "labels": labels}
        await self.api.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": metadata})

    async def events(self, name: str) -> list[str]:
        """The reasons of a StorageNode's events, in their order."""
        found = (await self.api.get(EVENTS))["items"]
        found.sort(key=lambda each: int(each["metadata"]["resourceVersion"]))
        return [each["reason"] for each in found if each["involvedObject"]["name"] == name]

    async def delete_storage_node(self, name: str) -> None:
        """As an admin has to: only a retired one can be deleted."""
        await self.patch(name, retired=True)
        await self.delete(f"{storage_node.PATH}/{name}")

    async def delete(self, path: str) -> None:
        await self.api._answer("DELETE", path, {})

    async def empty(self) -> None:
        """Remove what a test before left in a real API server."""
        for each in (await self.api.get(storage_node.PATH))["items"]:
            await self.delete_storage_node(each["metadata"]["name"])
        for collection in (SLICES, CSI_NODES, NODES, LEASES, EVENTS):
            for each in (await self.api.get(collection))["items"]:
                await self.delete(f"{collection}/{each['metadata']['name']}")


def endpoint_slice(node: str, port: int, *, name: str = "", ready: bool = True) -> Object:
    """As the endpoint slice controller makes them."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{SERVICE}-{name or node}",
            "labels": {"kubernetes.io/service-name": SERVICE},
        },
        "addressType": "IPv4",
        "ports": [{"name": "storage", "port": port, "protocol": "TCP"}],
        "endpoints": [{"addresses": [ADDRESS], "nodeName": node, "conditions": {"ready": ready}}],
    }


async def until(holds: Callable[[], Any], seconds: float = 15) -> Any:  # noqa: ANN401
    """Wait until something holds; it may be asked for with `await`, and may raise ApiError."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                found = holds()
                found = await found if asyncio.iscoroutine(found) else found
            except ApiError:
                found = None
            if found:
                return found
            await asyncio.sleep(0.02)
