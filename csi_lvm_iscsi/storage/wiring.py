"""The parts of the storage role, put together for one host."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from csi_lvm_iscsi.commands.runner import Runner
from csi_lvm_iscsi.initiator.host_paths import HostPaths
from csi_lvm_iscsi.model import chap
from csi_lvm_iscsi.storage.catalog import Catalog
from csi_lvm_iscsi.storage.copying import Copies
from csi_lvm_iscsi.storage.devices import Devices
from csi_lvm_iscsi.storage.exports import Exports
from csi_lvm_iscsi.storage.extending import Extender
from csi_lvm_iscsi.storage.fencing import Fence
from csi_lvm_iscsi.storage.grants import GrantRecords
from csi_lvm_iscsi.storage.lvm import Lvm
from csi_lvm_iscsi.storage.pools import Limits, Place, Pools
from csi_lvm_iscsi.storage.portals import Portals
from csi_lvm_iscsi.storage.publications import Publications
from csi_lvm_iscsi.storage.remote import RemoteDisks
from csi_lvm_iscsi.storage.snapshots import Snapshots
from csi_lvm_iscsi.storage.sources import Sources
from csi_lvm_iscsi.storage.tgt.target import Tgtd
from csi_lvm_iscsi.storage.thin_status import pool_use
from csi_lvm_iscsi.storage.volumes import Volumes
from csi_lvm_iscsi.storage.wiping import Wiper


@dataclass(frozen=True, slots=True)
class Settings:
    """What the role is told on its command line."""

    host: str
    listen: str
    tls_directory: Path
    keys: Mapping[str, bytes]
    state_directory: Path
    portals: Portals
    places: tuple[Place, ...]
    limits: Limits


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of the role, put together for one host."""

    catalog: Catalog
    pools: Pools
    volumes: Volumes
    snapshots: Snapshots
    sources: Sources
    wiper: Wiper
    extender: Extender
    exports: Exports
    publications: Publications


def wire(
    settings: Settings,
    runner: Runner,
    tgtd: Tgtd,
    *,
    new_nonce: Callable[[], str] = chap.new_nonce,
    now_seconds: Callable[[], int] = lambda: int(time.time()),
    device_root: Path = Path("/"),
) -> Parts:
    """Put the parts together. What is random or of the moment can be given, for tests."""
    groups = dict.fromkeys(place.volume_group for place in settings.places)
    catalog = Catalog(settings.host, [Lvm(runner, group, device_root / "sys") for group in groups])
    pools = Pools(catalog, settings.places, settings.limits)
    devices = Devices(catalog, device_root)
    wiper = Wiper(catalog, devices)
    volumes = Volumes(catalog, pools, wiper.wake)
    snapshots = Snapshots(catalog, pools, now_seconds, wiper.wake)
    sources = Sources(
        catalog=catalog,
        volumes=volumes,
        snapshots=snapshots,
        copies=Copies(settings.state_directory / "copies"),
        devices=devices,
        remote=RemoteDisks(runner, settings.host, settings.keys, HostPaths()),
    )
    extender = Extender(catalog, pools.thin, settings.limits, pool_use, pools.free_bytes)
    exports = Exports(tgtd, Fence(tgtd), settings.portals, settings.keys)
    grants = GrantRecords(settings.state_directory / "grants")
    publications = Publications(
        devices,
        grants,
        exports,
        portals=settings.portals,
        keys=settings.keys,
        new_nonce=new_nonce,
    )
    return Parts(
        catalog, pools, volumes, snapshots, sources, wiper, extender, exports, publications
    )
