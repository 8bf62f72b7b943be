"""The durable list of storage hosts, their volume groups, and the nodes: a JSON file.

{"storageHosts": [{"name": "storage-1", "address": "192.0.2.11:9740", "zone": "a",
                   "volumeGroups": [{"name": "vg0", "uuid": "XAcVys-..."}]}],
 "nodes": ["compute-1"]}

`zone` may be left out, of all storage hosts. A node tells its zone itself.
"""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.model.errors import DriverError, NotFound
from csi_lvm_iscsi.rpc import tls
from csi_lvm_iscsi.storage_client.host import HostEntry, StorageHost
from csi_lvm_iscsi.storage_client.membership import Membership


class Inventory(Membership):
    """The storage hosts and nodes that a file names. It is read once."""

    def __init__(self, path: Path, tls_directory: Path) -> None:
        entries, self._nodes = _read(path)
        credentials = tls.ClientCredentials(tls_directory)
        self._hosts = [StorageHost(entry, credentials) for entry in entries]

    @property
    def known(self) -> Sequence[StorageHost]:
        """All storage hosts."""
        return self._hosts

    @property
    def has_zones(self) -> bool:
        """Whether the storage hosts are in zones."""
        return any(host.entry.zone for host in self._hosts)

    def check_ready(self) -> None:
        """Nothing to wait for."""

    async def check_node(self, node_id: str) -> None:
        """Raise NotFound unless there is such a node."""
        if node_id not in self._nodes:
            raise NotFound(
                f"There is no node {node_id}: see that the node plugin runs there and that the "
                "controller's inventory lists it."
            )

    async def follow(self) -> None:
        """Nothing changes."""
        await asyncio.Event().wait()


def _read(path: Path) -> tuple[list[HostEntry], frozenset[str]]:
    try:
        content: dict[str, Any] = json.loads(path.read_text())
        entries = [
            HostEntry(
                name=host["name"],
                address=host["address"],
                volume_group_uuids=tuple(group["uuid"] for group in host["volumeGroups"]),
                zone=host.get("zone", ""),
            )
            for host in content["storageHosts"]
        ]
        nodes = frozenset(content["nodes"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DriverError(
            f"The inventory {path} cannot be read ({error!r}): it must name storageHosts, each "
            "with name, address and volumeGroups, and nodes."
        ) from error
    _check_unique(entries)
    _check_zones(entries)
    return entries, nodes


def _check_unique(entries: list[HostEntry]) -> None:
    """A volume's id must lead to one host."""
    owners: dict[str, str] = {}
    for entry in entries:
        for uuid in entry.volume_group_uuids:
            key = names.volume_group_hash(uuid)
            if key in owners:
                raise DriverError(
                    f"The inventory gives volume group {uuid} of {entry.name} to {owners[key]} "
                    "too. If its disks moved, take it off the old host."
                )
            owners[key] = entry.name


def _check_zones(entries: list[HostEntry]) -> None:
    """With some hosts in no zone, a volume there would count as near to every node."""
    zones = {entry.zone for entry in entries}
    for zone in filter(None, zones):
        if not names.is_zone(zone):
            raise DriverError(
                f"The inventory has zone {zone!r}, which Kubernetes does not take for a label: use "
                "up to 63 letters, digits, `-`, `_` and `.`."
            )
    without = [entry.name for entry in entries if not entry.zone]
    if without and zones != {""}:
        raise DriverError(
            f"The inventory has zones, but none for {', '.join(without)}: give every storage host "
            "its `zone`, or none of them."
        )
