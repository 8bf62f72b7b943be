"""The durable list of storage hosts, their volume groups, and the nodes: a JSON file.

{"storageHosts": [{"name": "storage-1", "address": "192.0.2.11:9740", "zone": "a",
                   "volumeGroups": [{"name": "vg0", "uuid": "XAcVys-..."}]}],
 "nodes": ["compute-1"]}

`zone` may be left out, of all storage hosts. A node tells its zone itself.
"""

import json
from pathlib import Path
from typing import Any

from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.model.errors import DriverError, NotFound
from csi_lvm_iscsi.rpc import tls
from csi_lvm_iscsi.storage_client.host import HostEntry, StorageHost


class Inventory:
    """The storage hosts and nodes that belong to the cluster, alive or not."""

    def __init__(self, path: Path, tls_directory: Path) -> None:
        entries, nodes = _read(path)
        credentials = tls.ClientCredentials(tls_directory)
        self.hosts = [StorageHost(entry, credentials) for entry in entries]
        self._nodes = nodes

    @property
    def has_zones(self) -> bool:
        """Whether the storage hosts are in zones."""
        return any(host.entry.zone for host in self.hosts)

    def owner(self, volume_id: str) -> StorageHost | None:
        """The host whose volume group the id names; None where there is none."""
        if not names.is_volume_id(volume_id):
            return None
        return next((host for host in self.hosts if host.owns(volume_id)), None)

    def owner_or_refuse(self, stored_id: str) -> StorageHost:
        """The host whose volume group the id names. Raises NotFound where there is none."""
        host = self.owner(stored_id)
        if host is None:
            kind = "snapshot" if names.is_snapshot_id(stored_id) else "volume"
            raise NotFound(
                f"There is no {kind} {stored_id}: no storage host of the inventory has its volume "
                "group."
            )
        return host

    def has_node(self, node_id: str) -> bool:
        """Whether there is such a node."""
        return node_id in self._nodes


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
