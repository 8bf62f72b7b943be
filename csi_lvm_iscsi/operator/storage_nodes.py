"""Keeps the StorageNodes: one for each storage host, with what it tells of itself."""

import asyncio
import time
from collections.abc import Awaitable, Mapping, Sequence
from http import HTTPStatus

import structlog

from csi_lvm_iscsi.model.errors import DriverError
from csi_lvm_iscsi.model.host_status import HostStatus
from csi_lvm_iscsi.operator import status
from csi_lvm_iscsi.operator.claims import Groups, gained, gains_first, lost, settle
from csi_lvm_iscsi.operator.events import Subject, tell, timestamp
from csi_lvm_iscsi.operator.metrics import Looks
from csi_lvm_iscsi.operator.status import Condition
from csi_lvm_iscsi.rpc import tls
from csi_lvm_iscsi.storage_client import storage_node
from csi_lvm_iscsi.storage_client.api_server import ApiError, Object
from csi_lvm_iscsi.storage_client.cluster import SERVER_NAME, Cluster
from csi_lvm_iscsi.storage_client.host import HostEntry, StorageHost
from csi_lvm_iscsi.storage_client.storage_node import StorageNode

# A host tells from memory, so asking is cheap; written is only what changed.
_INTERVAL_SECONDS = 5.0
_RETRY_SECONDS = 2.0
# So long a change waits for others that come with it.
_SETTLE_SECONDS = 0.5
_ZONE_LABEL = "topology.kubernetes.io/zone"
_Seen = HostStatus | DriverError
_log = structlog.get_logger()


class StorageNodes:
    """The StorageNodes of a cluster. It decides anew at each look, and remembers nothing: killed
    between two writes, the next look goes on."""

    def __init__(
        self,
        cluster: Cluster,
        credentials: tls.ClientCredentials,
        *,
        zones: bool,
        interval_seconds: float = _INTERVAL_SECONDS,
    ) -> None:
        """`zones`: whether the storage hosts are in the zones of their nodes."""
        self._cluster = cluster
        self._changed = asyncio.Event()
        cluster.on_change = self._changed.set
        self._credentials = credentials
        self._zones = zones
        self._interval = interval_seconds
        self._hosts: dict[str, StorageHost] = {}
        self.looks = Looks()

    async def run(self) -> None:
        """Look at all hosts, at once when a StorageNode or an address changed, for ever."""
        while True:
            seen = self._state()
            whole = await self.look()
            try:
                async with asyncio.timeout(self._interval if whole else _RETRY_SECONDS):
                    while self._state() == seen:
                        self._changed.clear()
                        await self._changed.wait()
                await asyncio.sleep(_SETTLE_SECONDS)
            except TimeoutError:
                pass

    async def look(self) -> bool:
        """Ask all hosts, and write what changed; whether all could be written."""
        try:
            self._cluster.check_read()
        except DriverError:
            return False
        nodes, addresses = self._cluster.storage_nodes(), self._cluster.addresses()
        seen = await self._ask(nodes, addresses)
        groups = {
            name: {group.uuid: group.name for group in told.volume_groups}
            for name, told in seen.items()
            if isinstance(told, HostStatus)
        }
        claims = settle(nodes, groups)
        now = {
            name: status.conditions(node, seen[name], claims[name].conflicts)
            for name, node in nodes.items()
        }
        whole = True
        not_gained: set[str] = set()
        for name in gains_first(nodes, claims):
            node, owned = nodes[name], claims[name].groups
            if not_gained & lost(node, owned):
                owned = node.volume_groups  # until the next look: else nobody had them
            told = status.status_of(
                node, seen[name], addresses.get(name, ""), now[name], timestamp()
            )
            if not await _is_written(name, self._write(node, owned, told, now[name])):
                whole = False
                not_gained |= gained(node, claims[name].groups)
        for name in sorted(set(seen) - set(nodes)):
            whole &= await _is_written(name, self._make(name))
        self.looks.conditions = {
            name: now[name] for name, node in nodes.items() if not node.retired
        }
        self.looks.looked_at = time.time()
        return whole

    def _state(self) -> object:
        """What calls for a look when it changes; a status does not."""
        nodes = self._cluster.storage_nodes().values()
        known = {each.name: (each.uid, each.generation) for each in nodes}
        return known, self._cluster.addresses()

    async def _ask(
        self, nodes: Mapping[str, StorageNode], addresses: Mapping[str, str]
    ) -> dict[str, _Seen]:
        """What each host tells, or why it does not."""
        for name in set(self._hosts) - {*nodes, *addresses}:
            self._hosts.pop(name).close()
        for name in {*nodes, *addresses}:
            entry = HostEntry(name, addresses.get(name, ""), ())
            if name in self._hosts:
                self._hosts[name].update(entry)
            else:
                self._hosts[name] = StorageHost(entry, self._credentials, SERVER_NAME)
        names = sorted(self._hosts)
        told = await asyncio.gather(*(_ask(self._hosts[name]) for name in names))
        return dict(zip(names, told, strict=True))

    async def _make(self, name: str) -> None:
        """A StorageNode for a host that has none; what it has is written at the next look."""
        made = {
            "apiVersion": storage_node.API_VERSION,
            "kind": storage_node.KIND,
            "metadata": {"name": name},
            "spec": {},
        }
        await self._cluster.api.create(storage_node.PATH, made)
        _log.info("StorageNode made", storage_node=name)

    async def _write(
        self, node: StorageNode, owned: Groups, told: Object, now: Sequence[Condition]
    ) -> None:
        """Write what belongs to the host, then what it told: both only where they changed."""
        version = await self._write_spec(node, owned)
        await self._write_status(node, told, now, version)

    async def _write_status(
        self, node: StorageNode, told: Object, now: Sequence[Condition], version: str
    ) -> None:
        if patch := status.difference(node, told):
            for each in status.news(node, now):
                await self._tell(node, each.reason, each.message, warning=each.is_bad)
            await self._merge(node, {"status": patch}, version, "/status")
            self.looks.writes += 1

    async def _write_spec(self, node: StorageNode, groups: Groups) -> str:
        """Write what belongs to the host; the version of the StorageNode then."""
        spec: Object = {}
        if groups != node.volume_groups:
            spec["volumeGroups"] = [
                {"name": name, "uuid": uuid} for uuid, name in sorted(groups.items())
            ]
        if self._zones and not node.zone and (zone := await self._zone(node.name)):
            spec["zone"] = zone
        if not spec:
            return node.version
        version = await self._merge(node, {"spec": spec}, node.version)
        for uuid in sorted(gained(node, groups)):
            text = f"Volume group {groups[uuid]} ({uuid}) belongs to this host now."
            await self._tell(node, "VolumeGroupAdded", text, warning=False)
        for uuid in sorted(lost(node, groups)):
            text = f"Volume group {node.volume_groups[uuid]} ({uuid}) is not of this host any more."
            await self._tell(node, "VolumeGroupRemoved", text, warning=True)
        return version

    async def _zone(self, name: str) -> str:
        """The zone of the node; empty: it has none, or is not there any more."""
        try:
            node = await self._cluster.api.get(f"/api/v1/nodes/{name}")
        except ApiError as error:
            # A StorageNode outlives the Node of a lost host, and its status is to tell of that.
            if error.status == HTTPStatus.NOT_FOUND:
                return ""
            raise
        return str((node["metadata"].get("labels") or {}).get(_ZONE_LABEL, ""))

    async def _merge(self, node: StorageNode, patch: Object, version: str, part: str = "") -> str:
        """Write against the version that was read; the version then."""
        body = {"metadata": {"resourceVersion": version}, **patch}
        path = f"{storage_node.PATH}/{node.name}{part}"
        written = await self._cluster.api.merge(path, body)
        return str(written["metadata"]["resourceVersion"])

    async def _tell(self, node: StorageNode, reason: str, message: str, *, warning: bool) -> None:
        about = Subject(storage_node.API_VERSION, storage_node.KIND, "", node.name, node.uid)
        await tell(self._cluster.api, about, reason, message, warning=warning)


async def _ask(host: StorageHost) -> _Seen:
    try:
        return await host.status()
    except DriverError as error:
        return error


async def _is_written(name: str, writing: Awaitable[None]) -> bool:
    """Write; False, and a line in the log, where that failed."""
    try:
        await writing
    except DriverError as error:
        if not _is_overtaken(error):
            _log.warning("StorageNode not written", storage_node=name, error=str(error))
        return False
    return True


def _is_overtaken(error: DriverError) -> bool:
    """Whether what was to be written is of a version that is no more: the next look reads anew."""
    overtaken = (HTTPStatus.CONFLICT, HTTPStatus.NOT_FOUND)
    return isinstance(error, ApiError) and error.status in overtaken
