"""Membership as Kubernetes has it: StorageNodes say who belongs, EndpointSlices where they are."""

import asyncio
import urllib.parse
from collections.abc import Callable, Sequence
from http import HTTPStatus

from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.model.errors import NotFound, Unavailable
from csi_lvm_iscsi.rpc import tls
from csi_lvm_iscsi.storage_client import storage_node
from csi_lvm_iscsi.storage_client.api_server import ApiError, ApiServer, Object
from csi_lvm_iscsi.storage_client.host import StorageHost
from csi_lvm_iscsi.storage_client.membership import Membership
from csi_lvm_iscsi.storage_client.storage_node import StorageNode
from csi_lvm_iscsi.storage_client.watching import Watched, as_it_is

SERVER_NAME = "storage.csi-lvm-iscsi"
"""In the certificate that all storage hosts of a cluster share."""

_PORT = "storage"
_CSI_NODES = "/apis/storage.k8s.io/v1/csinodes"


class Cluster:
    """What the API server says of storage hosts, as last known."""

    def __init__(self, api: ApiServer, namespace: str, service: str) -> None:
        """`service`: the headless Service in front of the storage pods."""
        self.api = api
        self.on_change: Callable[[], None] = lambda: None
        """Called when something changed."""
        self._nodes = Watched(api, storage_node.PATH, as_it_is, self._changed)
        self._slices = Watched(
            api,
            f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices",
            as_it_is,
            self._changed,
            selector=f"kubernetes.io/service-name={service}",
        )

    async def follow(self) -> None:
        """Keep up with changes, for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._nodes.follow())
            tasks.create_task(self._slices.follow())

    def check_read(self) -> None:
        """Raise Unavailable before all was read once."""
        if error := self._nodes.error or self._slices.error:
            raise Unavailable(
                f"It is not known yet which storage hosts there are: {error} Call again; if it "
                "stays so, see the log of this pod."
            )

    def storage_nodes(self) -> dict[str, StorageNode]:
        """The StorageNodes, by name."""
        return {name: StorageNode.of(each) for name, each in self._nodes.objects.items()}

    def addresses(self) -> dict[str, str]:
        """Where the storage pods are, ADDRESS:PORT, by the name of their node. One that is not
        ready counts where there is no better one: it may answer all the same."""
        found: dict[str, tuple[bool, str]] = {}
        for each in self._slices.objects.values():
            ports = [port["port"] for port in each.get("ports") or () if port["name"] == _PORT]
            for endpoint in each.get("endpoints") or ():
                node, ready = endpoint.get("nodeName"), _is_ready(endpoint)
                if node and ports and (ready or node not in found):
                    found[node] = (ready, _joined(endpoint["addresses"][0], ports[0]))
        return {node: address for node, (_, address) in found.items()}

    def _changed(self, _: Sequence[Object]) -> None:
        if not (self._nodes.error or self._slices.error):
            self.on_change()


class ClusterMembership(Membership):
    """The storage hosts and nodes of a Kubernetes cluster."""

    def __init__(
        self, cluster: Cluster, credentials: tls.ClientCredentials, *, zones: bool
    ) -> None:
        """`zones`: whether storage hosts are in zones."""
        self._cluster = cluster
        cluster.on_change = self._update
        self._credentials = credentials
        self._zones = zones
        self._hosts: dict[str, StorageHost] = {}
        self._seen_nodes: set[str] = set()

    @property
    def known(self) -> Sequence[StorageHost]:
        """All storage hosts, in the order of their names."""
        return [self._hosts[name] for name in sorted(self._hosts)]

    @property
    def has_zones(self) -> bool:
        """Whether the storage hosts are in zones."""
        return self._zones

    def check_ready(self) -> None:
        """Raise Unavailable before the API server has told which storage hosts there are."""
        self._cluster.check_read()

    async def check_node(self, node_id: str) -> None:
        """Raise NotFound unless the node plugin is registered on this node. While the API server
        does not answer, a node that was there counts as there."""
        path = f"{_CSI_NODES}/{urllib.parse.quote(node_id, safe='')}"
        try:
            found = await self._cluster.api.get(path)
        except Unavailable:
            if node_id not in self._seen_nodes:
                raise
            return
        except ApiError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            found = {}
        drivers = found.get("spec", {}).get("drivers") or ()
        if not any(each["name"] == names.DRIVER for each in drivers):
            self._seen_nodes.discard(node_id)
            raise NotFound(
                f"There is no node {node_id} with this driver: see that the pod of "
                f"csi-lvm-iscsi-node runs there (`kubectl get csinode {node_id} -o yaml` lists "
                f"{names.DRIVER} then)."
            )
        self._seen_nodes.add(node_id)

    async def follow(self) -> None:
        """Keep up with changes, for ever."""
        await self._cluster.follow()

    def _update(self) -> None:
        nodes, addresses = self._cluster.storage_nodes(), self._cluster.addresses()
        for name in set(self._hosts) - set(nodes):
            self._hosts.pop(name).close()
        for name, node in nodes.items():
            entry = node.entry(addresses.get(name, ""), zones=self._zones)
            if name in self._hosts:
                self._hosts[name].update(entry)
            else:
                self._hosts[name] = StorageHost(entry, self._credentials, SERVER_NAME)


def _is_ready(endpoint: Object) -> bool:
    return bool((endpoint.get("conditions") or {}).get("ready", True))


def _joined(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
