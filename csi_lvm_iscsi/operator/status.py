"""The status of a StorageNode, made of what the host told: no I/O, no clock."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from csi_lvm_iscsi.model import sizes
from csi_lvm_iscsi.model.errors import DriverError, Unavailable
from csi_lvm_iscsi.model.host_status import HostStatus
from csi_lvm_iscsi.model.volumes import Pool
from csi_lvm_iscsi.storage_client.api_server import Object
from csi_lvm_iscsi.storage_client.storage_node import StorageNode

READY, POOLS_HEALTHY, CONFLICT = "Ready", "PoolsHealthy", "VolumeGroupConflict"
_UNKNOWN = "Unknown"
_BAD = {READY: "False", POOLS_HEALTHY: "False", CONFLICT: "True"}


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of a StorageNode."""

    kind: str
    status: str
    """True, False or Unknown."""

    reason: str
    message: str

    @property
    def is_bad(self) -> bool:
        """Whether an admin must know."""
        return self.status == _BAD[self.kind]


def conditions(
    node: StorageNode, seen: HostStatus | DriverError, conflicts: Sequence[str]
) -> tuple[Condition, ...]:
    """The conditions of a host that told this of itself, or that could not be asked."""
    return (_ready(node, seen), _pools_healthy(seen), _conflict(conflicts))


def _ready(node: StorageNode, seen: HostStatus | DriverError) -> Condition:
    if node.retired:
        return Condition(READY, "False", "Retired", _given_up(node, seen))
    if isinstance(seen, DriverError):
        reason = "Unreachable" if isinstance(seen, Unavailable) else "NotReady"
        return Condition(READY, "False", reason, str(seen))
    if seen.problems:
        return Condition(READY, "False", "NotReady", " ".join(seen.problems))
    return Condition(READY, "True", "Answering", "The host answers, and serves its volumes.")


def _given_up(node: StorageNode, seen: HostStatus | DriverError) -> str:
    delete = f"`kubectl delete storagenode {node.name}`"
    if not node.volume_groups:
        return f"The host is given up, and no volume group belongs to it: {delete}."
    text = (
        "The host is given up: its volumes count as deleted. When no PersistentVolume is of it any "
        f"more, {delete}."
    )
    if isinstance(seen, DriverError):
        return text
    return (
        f"{text} But it still answers, and whoever uses its volumes goes on writing to them: turn "
        "it off, or take the label of storage hosts off its node."
    )


def _pools_healthy(seen: HostStatus | DriverError) -> Condition:
    if isinstance(seen, DriverError):
        unknown = "The host does not answer; what is told of its pools is as of before."
        return Condition(POOLS_HEALTHY, _UNKNOWN, "Unreachable", unknown)
    full = [pool.stopped for pool in seen.pools if pool.stopped]
    if full:
        return Condition(POOLS_HEALTHY, "False", "PoolFull", " ".join(full))
    return Condition(POOLS_HEALTHY, "True", "AsExpected", "All pools take new volumes.")


def _conflict(conflicts: Sequence[str]) -> Condition:
    if conflicts:
        return Condition(CONFLICT, "True", "AnotherHostHasIt", " ".join(conflicts))
    return Condition(CONFLICT, "False", "AsExpected", "No other host has its volume groups.")


def news(node: StorageNode, now: Sequence[Condition]) -> Iterator[Condition]:
    """The conditions that an admin is to be told of: those that are bad and were not so before, and
    those that are good again."""
    before = _by_kind(node)
    for each in now:
        old = before.get(each.kind, {"status": "", "reason": ""})
        is_again_good = old["status"] == _BAD[each.kind] and each.status not in (
            _UNKNOWN,
            old["status"],
        )
        if is_again_good or (each.is_bad and old["reason"] != each.reason):
            yield each


def status_of(
    node: StorageNode,
    seen: HostStatus | DriverError,
    address: str,
    now: Sequence[Condition],
    time: str,
) -> Object:
    """The whole status. What a host that does not answer told before stays."""
    told = node.status if isinstance(seen, DriverError) else _told(seen)
    before = _by_kind(node)
    return {
        **told,
        "observedGeneration": node.generation,
        "address": address,
        "conditions": [_condition(each, before.get(each.kind), node, time) for each in now],
    }


def difference(node: StorageNode, status: Object) -> Object:
    """The merge patch that makes the status this one; empty where it is."""
    gone: Object = dict.fromkeys(set(node.status) - set(status))
    return gone | {
        key: value
        for key, value in status.items()
        if key not in node.status or value != node.status[key]
    }


def _by_kind(node: StorageNode) -> dict[str, Object]:
    return {each["type"]: each for each in node.status.get("conditions", ())}


def _condition(now: Condition, old: Object | None, node: StorageNode, time: str) -> Object:
    since = old["lastTransitionTime"] if old and old["status"] == now.status else time
    return {
        "type": now.kind,
        "status": now.status,
        "observedGeneration": node.generation,
        "lastTransitionTime": since,
        "reason": now.reason,
        "message": now.message,
    }


def _told(seen: HostStatus) -> Object:
    capacity = sum(pool.size_bytes for pool in seen.pools)
    free = sum(pool.free_bytes for pool in seen.pools)
    used = round(100 * (1 - free / capacity), 1) if capacity else 0
    return {
        "version": seen.version,
        "portals": list(seen.portals),
        "volumeGroups": [
            {"name": each.name, "sizeBytes": each.size_bytes, "freeBytes": each.free_bytes}
            for each in seen.volume_groups
        ],
        "pools": [_pool(each) for each in seen.pools],
        "volumes": seen.volumes,
        "capacityBytes": capacity,
        "freeBytes": free,
        "usedPercent": used,
        "capacity": sizes.short(capacity),
        "free": sizes.short(free),
        "used": f"{used:g}%",
        "reclaiming": sizes.short(sum(pool.reclaiming_bytes for pool in seen.pools)),
    }


def _pool(pool: Pool) -> Object:
    space = {"name": pool.name, "sizeBytes": pool.size_bytes, "freeBytes": pool.free_bytes}
    if pool.thin_pool:
        percents = {
            "dataPercent": round(pool.data_percent, 2),
            "metadataPercent": round(pool.metadata_percent, 2),
        }
        return {**space, "type": "thin", **percents}
    return {**space, "type": "thick", "reclaimingBytes": pool.reclaiming_bytes}
