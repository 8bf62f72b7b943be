"""Which storage host a volume group belongs to: rules over what hosts report, without any I/O.

A volume group belongs to one host. Another one that has its disks takes it over only where the
former is given up, or says itself that it has it no more: one that is silent may still write to it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from csi_lvm_iscsi.storage_client.storage_node import StorageNode

_RETIRED = '{"spec":{"retired":true}}'
Groups = Mapping[str, str]
"""Names of volume groups by UUID."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What belongs to one host."""

    groups: Groups
    conflicts: tuple[str, ...]
    """Of the groups that it has and another host claims: sentences that say what to do."""


def settle(nodes: Mapping[str, StorageNode], reports: Mapping[str, Groups]) -> dict[str, Claims]:
    """What is to belong to each host. `reports`: the groups of each host that answered.

    A group that moves is first added to its new host, and taken off the former when it is seen
    there: at no moment it belongs to nobody, which would read as if its volumes were deleted. Only
    where the former has another group of its name, which cannot be beside it, both are at once: see
    gains_first.
    """
    return {name: _claims(node, nodes, reports) for name, node in nodes.items()}


def gains_first(nodes: Mapping[str, StorageNode], claims: Mapping[str, Claims]) -> list[str]:
    """The hosts in the order to write them in: those that lose a group come last, so that it is
    with its new host by then. Where hosts swap groups, one of them has to be the first."""
    return sorted(nodes, key=lambda name: (bool(lost(nodes[name], claims[name].groups)), name))


def gained(node: StorageNode, groups: Groups) -> set[str]:
    """The groups that a host has not yet."""
    return set(groups) - set(node.volume_groups)


def lost(node: StorageNode, groups: Groups) -> set[str]:
    """The groups that a host is to have no more."""
    return set(node.volume_groups) - set(groups)


def _claims(
    node: StorageNode, nodes: Mapping[str, StorageNode], reports: Mapping[str, Groups]
) -> Claims:
    reported = reports.get(node.name, {})
    kept = {
        uuid: reported.get(uuid, name)
        for uuid, name in node.volume_groups.items()
        if not _is_replaced(uuid, name, reported)
        and not _is_taken_over(node, uuid, nodes.values(), reports)
    }
    added: dict[str, str] = {}
    conflicts: list[str] = []
    for uuid, name in {} if node.retired else sorted(reported.items()):
        holders = [
            other
            for other in nodes.values()
            if other.name != node.name
            and uuid in other.volume_groups
            and not _yields(other, uuid, reports)
        ]
        conflicts += [_conflict(node, uuid, name, other, reports) for other in holders]
        if not holders and uuid not in kept:
            added[uuid] = name
    return Claims(kept | added, tuple(conflicts))


def _yields(node: StorageNode, uuid: str, reports: Mapping[str, Groups]) -> bool:
    """Whether another host may have a group that belongs to this one."""
    return node.retired or (node.name in reports and uuid not in reports[node.name])


def _is_taken_over(
    node: StorageNode, uuid: str, nodes: Iterable[StorageNode], reports: Mapping[str, Groups]
) -> bool:
    return _yields(node, uuid, reports) and any(
        uuid in other.volume_groups and uuid in reports.get(other.name, {})
        for other in nodes
        if other.name != node.name and not other.retired
    )


def _is_replaced(uuid: str, name: str, reported: Groups) -> bool:
    """Whether the host has another group of this name: a host has no two of one name."""
    return uuid not in reported and name in reported.values()


def _conflict(
    node: StorageNode, uuid: str, name: str, other: StorageNode, reports: Mapping[str, Groups]
) -> str:
    if other.name in reports:
        return (
            f"Volume group {name} ({uuid}) is on {node.name} and on {other.name}, to which it "
            "belongs: if its disks were copied, run `vgimportclone` on the copy; if both hosts "
            "see the same disks, take them away from one."
        )
    retire = f"kubectl patch storagenode {other.name} --type merge -p '{_RETIRED}'"
    return (
        f"Volume group {name} ({uuid}) is on {node.name}, but belongs to {other.name}, which does "
        "not answer: start that host without these disks, or, if it is lost, give it up "
        f"(`{retire}`)."
    )
