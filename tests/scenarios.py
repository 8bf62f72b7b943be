"""What the storage role is killed in: each verb, from the state in which it has most to do."""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from csi_lvm_iscsi.commands.runner import Runner
from csi_lvm_iscsi.storage.pools import Limits, Place
from csi_lvm_iscsi.storage.portals import Portals
from csi_lvm_iscsi.storage.tgt.socket import Management
from csi_lvm_iscsi.storage.tgt.target import Tgtd
from csi_lvm_iscsi.storage.volumes import Wanted
from csi_lvm_iscsi.storage.wiring import Parts, Settings, wire

NAME = "pvc-crash"
NODE = "compute-1"
NONCE = "0123456789abcdef"
MIB = 1 << 20
POOL = Place("vg0", "pool")


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
}


async def _create(parts: Parts) -> None:
    await parts.volumes.ensure(Wanted(NAME, 8 * MIB, 0, POOL, {"pvc": "crash"}))


async def _publish(parts: Parts) -> None:
    await parts.publications.publish(
        parts.volumes.id_of(NAME, POOL.volume_group), NODE, read_only=False, shared=False
    )


async def _unpublish(parts: Parts) -> None:
    await parts.publications.unpublish(parts.volumes.id_of(NAME, POOL.volume_group), NODE)


async def _delete(parts: Parts) -> None:
    volume_id = parts.volumes.id_of(NAME, POOL.volume_group)
    await parts.publications.ensure_unpublished(volume_id)
    await parts.volumes.delete(volume_id)


VERBS: Mapping[str, Callable[[Parts], Awaitable[None]]] = {
    "create": _create,
    "publish": _publish,
    "unpublish": _unpublish,
    "delete": _delete,
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
    """Start the role and make one call. What is random in the product is given here."""
    networks = (ipaddress.ip_network("10.77.0.0/24"),)
    portals = Portals(networks, lambda: [ipaddress.ip_address("10.77.0.11")])
    portals.refresh()
    settings = Settings(
        host="storage-1",
        listen="",
        tls_directory=Path(),
        keys={"k1": b"a key for tests"},
        state_directory=state_directory,
        portals=portals,
        places=(POOL,),
        limits=Limits(),
    )
    tgtd = Tgtd(management, new_tid=lambda: tid)
    parts = wire(settings, runner, tgtd, new_nonce=lambda: NONCE, device_root=device_root)
    await parts.catalog.refresh()
    await VERBS[verb](parts)
