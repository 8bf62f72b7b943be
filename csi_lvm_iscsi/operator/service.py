"""The operator: the leader keeps the StorageNodes and VolumeHotplugs, the others wait."""

import asyncio
import socket
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry

from csi_lvm_iscsi.operator.hotplug.hotplugs import Hotplugs
from csi_lvm_iscsi.operator.lease import Lease
from csi_lvm_iscsi.operator.metrics import operator_metrics
from csi_lvm_iscsi.operator.storage_nodes import StorageNodes
from csi_lvm_iscsi.rpc import metrics, server, tls
from csi_lvm_iscsi.storage_client.api_server import connect
from csi_lvm_iscsi.storage_client.cluster import Cluster

_LEASE = "csi-lvm-iscsi-operator"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the role is told on its command line."""

    namespace: str
    storage_service: str
    tls_directory: Path
    zones: bool
    virtual_machines: bool


async def serve(settings: Settings, registry: CollectorRegistry) -> None:
    """Run the role until it is told to end. Raises DriverError where it cannot start."""
    credentials = tls.ClientCredentials(settings.tls_directory)
    api = await connect()
    cluster = Cluster(api, settings.namespace, settings.storage_service)
    nodes = StorageNodes(cluster, credentials, zones=settings.zones)
    hotplugs = Hotplugs(api) if settings.virtual_machines else None
    lease = Lease(api, settings.namespace, _LEASE, socket.gethostname())

    async def lead() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(nodes.run())
            if hotplugs:
                tasks.create_task(hotplugs.run())

    metrics.register(
        registry,
        lambda: operator_metrics(
            nodes.looks, hotplugs.phases() if hotplugs else {}, leads=lease.is_held
        ),
    )
    try:
        await server.until_told([cluster.follow, lambda: lease.lead(lead)])
        await lease.release()
    finally:
        await api.close()
