"""An operator for tests: it looks when it is asked to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from csi_lvm_iscsi.model.errors import Unavailable
from csi_lvm_iscsi.operator.storage_nodes import StorageNodes
from csi_lvm_iscsi.rpc.tls import ClientCredentials
from csi_lvm_iscsi.storage_client import storage_node
from csi_lvm_iscsi.storage_client.cluster import Cluster
from tests.unit.cluster.fake_api import Object
from tests.unit.cluster.storage_hosts import UUIDS, StorageHost
from tests.unit.cluster.world import Kubernetes, until


class Operator:
    """An operator whose looks the test asks for."""

    def __init__(self, kubernetes: Kubernetes, cluster: Cluster, nodes: StorageNodes) -> None:
        self.kubernetes = kubernetes
        self.cluster = cluster
        self.nodes = nodes

    async def look(self) -> bool:
        """One look, at all that is there now."""
        await until(self._is_current)
        return await self.nodes.look()

    async def _is_current(self) -> bool:
        try:
            self.cluster.check_read()
        except Unavailable:
            return False
        items = (await self.kubernetes.api.get(storage_node.PATH))["items"]
        now = {each["metadata"]["name"]: each["metadata"]["resourceVersion"] for each in items}
        return now == {name: each.version for name, each in self.cluster.storage_nodes().items()}

    async def settle(self) -> None:
        """Looks until nothing is written any more."""
        before = None
        while before != (now := await self._versions()):
            before = now
            await self.look()

    async def _versions(self) -> list[str]:
        items = (await self.kubernetes.api.get(storage_node.PATH))["items"]
        return [each["metadata"]["resourceVersion"] for each in items]

    async def follow_endpoints(self, *hosts: StorageHost) -> None:
        await self.kubernetes.endpoints(*hosts)
        wanted = {host.name: host.port for host in hosts}
        await until(lambda: self._ports() == wanted)

    def _ports(self) -> dict[str, int]:
        return {
            name: int(address.rpartition(":")[2])
            for name, address in self.cluster.addresses().items()
        }


@asynccontextmanager
async def operating(
    kubernetes: Kubernetes, credentials: ClientCredentials, *, zones: bool = False
) -> AsyncIterator[Operator]:
    cluster = kubernetes.cluster()
    nodes = StorageNodes(cluster, credentials, zones=zones)
    following = asyncio.create_task(cluster.follow())
    try:
        yield Operator(kubernetes, cluster, nodes)
    finally:
        following.cancel()
        await asyncio.wait({following})


def group(letter: str) -> Object:
    """A volume group as a StorageNode's spec names it."""
    return {"name": f"vg-{letter}", "uuid": UUIDS[letter]}


async def groups_of(kubernetes: Kubernetes, name: str) -> Any:  # noqa: ANN401
    """The volume groups that belong to a host."""
    return (await kubernetes.read(name))["spec"].get("volumeGroups", [])


def condition(node: Object, kind: str) -> Object:
    """A condition of a StorageNode."""
    found: Object = next(each for each in node["status"]["conditions"] if each["type"] == kind)
    return found
