"""What the storage role is killed in: each verb, from the state in which it has most to do."""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from csi_lvm_iscsi.commands.runner import Runner
from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.storage.pools import Limits, Place
from csi_lvm_iscsi.storage.portals import Portals
from csi_lvm_iscsi.storage.tgt.socket import Management
from csi_lvm_iscsi.storage.tgt.target import Tgtd
from csi_lvm_iscsi.storage.volumes import Wanted
from csi_lvm_iscsi.storage.wiring import Parts, Settings, wire

NAME = "pvc-crash"
NODE, SECOND_NODE = "compute-1", "compute-2"
SNAPSHOT, CLONE = "snapshot-crash", "pvc-clone"
MIB = 1 << 20
POOL, THICK = Place("vg0", "pool"), Place("vg0", "")
TAKEN_SECONDS = 1_800_000_000
# Where a verb begins to number targets: those of before, the scenario's, and those of a new role.
BEFORE_TID, FIRST_TID, SECOND_TID = 901, 1001, 1002


@dataclass(frozen=True)
class Scenario:
    """One verb, with what comes before it, and what takes it back."""

    before: tuple[str, ...]
    verb: str
    undo: str


SCENARIOS: Mapping[str, Scenario] = {
    "create": Scenario((), "create", undo="delete"),
    "publish": Scenario(("create",), "publish", undo="unpublish"),
    "unpublish": Scenario(("create", "publish"), "unpublish", undo="unpublish"),
    "delete": Scenario(("create",), "delete", undo="delete"),
    "share": Scenario(("create", "share first"), "share", undo="unpublish"),
    "unshare": Scenario(("create", "share first", "share"), "unshare", undo="unpublish"),
    "grow": Scenario(("create", "publish"), "grow", undo="remove"),
    "create thick": Scenario((), "create thick", undo="clear"),
    "delete thick": Scenario(("create thick",), "delete", undo="clear"),
    "snapshot": Scenario(("create",), "snapshot", undo="clear"),
    "snapshot thick": Scenario(("create thick",), "snapshot", undo="clear"),
    "clone larger": Scenario(("create", "snapshot"), "clone", undo="clear"),
    "delete snapshot": Scenario(("create", "snapshot"), "delete snapshot", undo="clear"),
    "delete thick origin": Scenario(("create thick", "snapshot"), "delete", undo="clear"),
    "delete thick snapshot": Scenario(
        ("create thick", "snapshot", "delete"), "delete snapshot", undo="clear"
    ),
}
NONCES: Mapping[str, str] = {
    "publish": "0123456789abcdef",
    "share first": "0123456789abcdef",
    "share": "fedcba9876543210",
}
"""What each verb that publishes gives as nonce, also when it is called again."""


def tids(scenario: Scenario) -> dict[str, int]:
    """Where each verb before the scenario's begins to number its targets."""
    return {verb: BEFORE_TID + 10 * n for n, verb in enumerate(scenario.before)}


def _volume(parts: Parts) -> str:
    return names.volume_id(parts.catalog.group(POOL.volume_group).uuid, NAME)


async def _create(parts: Parts) -> None:
    await parts.volumes.ensure(Wanted(NAME, 8 * MIB, 0, POOL, {"pvc": "crash"}))


async def _create_thick(parts: Parts) -> None:
    await parts.volumes.ensure(Wanted(NAME, 8 * MIB, 0, THICK, {"pvc": "crash"}))


async def _snapshot(parts: Parts) -> None:
    await parts.snapshots.ensure(SNAPSHOT, _volume(parts))


async def _clone(parts: Parts) -> None:
    source = _snapshot_id(parts)
    wanted = Wanted(CLONE, 12 * MIB, 0, POOL, {"pvc": "clone"}, source_id=source)
    await parts.sources.create(wanted, None)


async def _delete_snapshot(parts: Parts) -> None:
    await parts.snapshots.delete(_snapshot_id(parts))


def _snapshot_id(parts: Parts) -> str:
    return names.snapshot_id(parts.catalog.group(POOL.volume_group).uuid, SNAPSHOT)


async def _publish(parts: Parts) -> None:
    await parts.publications.publish(_volume(parts), NODE, read_only=False, shared=False)


async def _share_first(parts: Parts) -> None:
    await parts.publications.publish(_volume(parts), NODE, read_only=True, shared=True)


async def _share(parts: Parts) -> None:
    await parts.publications.publish(_volume(parts), SECOND_NODE, read_only=True, shared=True)


async def _unshare(parts: Parts) -> None:
    await parts.publications.unpublish(_volume(parts), NODE)


async def _unpublish(parts: Parts) -> None:
    await parts.publications.unpublish(_volume(parts), "")


async def _grow(parts: Parts) -> None:
    volume = await parts.volumes.expand(_volume(parts), 12 * MIB, 0)
    await parts.publications.restore(volume.id)


async def _delete(parts: Parts) -> None:
    await parts.publications.ensure_unpublished(_volume(parts))
    await parts.volumes.delete(_volume(parts))


async def _remove(parts: Parts) -> None:
    await _unpublish(parts)
    await _delete(parts)


async def _clear(parts: Parts) -> None:
    """Leave nothing, and wipe nothing: no tenant wrote to it."""
    for snapshot in parts.catalog.snapshots():
        await parts.snapshots.delete(snapshot.id)
    for volume in parts.catalog.volumes():
        await parts.volumes.delete(volume.id)
    for group, waste in parts.catalog.waste():
        await parts.catalog.lvm(group.name).remove(waste.name)


VERBS: Mapping[str, Callable[[Parts], Awaitable[None]]] = {
    "create": _create,
    "publish": _publish,
    "unpublish": _unpublish,
    "delete": _delete,
    "share first": _share_first,
    "share": _share,
    "unshare": _unshare,
    "grow": _grow,
    "remove": _remove,
    "create thick": _create_thick,
    "snapshot": _snapshot,
    "clone": _clone,
    "delete snapshot": _delete_snapshot,
    "clear": _clear,
}


async def call(
    verb: str,
    runner: Runner,
    management: Management,
    state_directory: Path,
    *,
    tid: int,
    device_root: Path = Path("/"),
) -> None:
    """Start the role and make one call. What is random in the product is given here: the targets
    that it makes are numbered from `tid` on."""
    nonce = NONCES.get(verb, "")
    parts = await start(
        runner, management, state_directory, tid=tid, nonce=nonce, device_root=device_root
    )
    await VERBS[verb](parts)


async def start(
    runner: Runner,
    management: Management,
    state_directory: Path,
    *,
    tid: int,
    nonce: str,
    device_root: Path,
) -> Parts:
    """Start the role."""
    portals = Portals(
        (ipaddress.ip_network("10.77.0.0/24"),), lambda: [ipaddress.ip_address("10.77.0.11")]
    )
    portals.refresh()
    settings = Settings(
        host="storage-1",
        listen="",
        tls_directory=Path(),
        keys={"k1": b"a key for tests"},
        state_directory=state_directory,
        portals=portals,
        places=(POOL, THICK),
        limits=Limits(),
    )
    tgtd = Tgtd(management, new_tid=itertools.count(tid).__next__)
    parts = wire(
        settings,
        runner,
        tgtd,
        new_nonce=lambda: nonce,
        now_seconds=lambda: TAKEN_SECONDS,
        device_root=device_root,
    )
    await parts.catalog.refresh()
    return parts
