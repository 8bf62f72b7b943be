"""What the storage role is killed in: each verb, from the state in which it has most to do."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from csi_lvm_iscsi.commands.runner import Runner
from csi_lvm_iscsi.storage.service import Parts, Settings, wire
from csi_lvm_iscsi.storage.tgt.socket import Management
from csi_lvm_iscsi.storage.tgt.target import Tgtd

NAME = "pvc-crash"
NODE, SECOND_NODE = "compute-1", "compute-2"
MIB = 1 << 20
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


async def _create(parts: Parts) -> None:
    await parts.volumes.create(NAME, 8 * MIB, 0, {"pvc": "crash"})


async def _publish(parts: Parts) -> None:
    await parts.publications.publish(parts.volumes.id_of(NAME), NODE, read_only=False, shared=False)


async def _share_first(parts: Parts) -> None:
    await parts.publications.publish(parts.volumes.id_of(NAME), NODE, read_only=True, shared=True)


async def _share(parts: Parts) -> None:
    await parts.publications.publish(
        parts.volumes.id_of(NAME), SECOND_NODE, read_only=True, shared=True
    )


async def _unshare(parts: Parts) -> None:
    await parts.publications.unpublish(parts.volumes.id_of(NAME), NODE)


async def _unpublish(parts: Parts) -> None:
    await parts.publications.unpublish(parts.volumes.id_of(NAME), "")


async def _remove(parts: Parts) -> None:
    await _unpublish(parts)
    await _delete(parts)


async def _grow(parts: Parts) -> None:
    volume = await parts.volumes.expand(parts.volumes.id_of(NAME), 12 * MIB, 0)
    await parts.publications.restore(volume.id)


async def _delete(parts: Parts) -> None:
    await parts.publications.delete_volume(parts.volumes.id_of(NAME))


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
    settings = Settings(
        host="storage-1",
        listen="",
        tls_directory=Path(),
        keys={"k1": b"a key for tests"},
        state_directory=state_directory,
        portals=("10.77.0.11:3260",),
        thin_pool="vg0/pool",
    )
    tgtd = Tgtd(management, new_tid=itertools.count(tid).__next__)
    parts = wire(settings, runner, tgtd, new_nonce=lambda: nonce, device_root=device_root)
    await parts.volumes.refresh()
    return parts
