"""Records the transcripts anew: `python -m tests.unit.node.record PORTAL PORTAL`.

Run it as root on a lab host with tgtd listening on both and iscsid; it makes one target in tgtd.
"""

import asyncio
import contextlib
import json
import sys
from dataclasses import replace
from pathlib import Path

from csi_lvm_iscsi.commands.runner import ProcessRunner, Where
from csi_lvm_iscsi.initiator.device_mapper import Control
from csi_lvm_iscsi.model import chap, names
from csi_lvm_iscsi.model.access import Capability
from csi_lvm_iscsi.model.errors import DriverError
from csi_lvm_iscsi.model.publications import LUN, Publication
from csi_lvm_iscsi.node import host_rules
from csi_lvm_iscsi.node.paths import HostPaths
from csi_lvm_iscsi.node.service import Flows, Settings, wire
from tests.unit.node.transcripts import DIRECTORY, Recorder

VOLUME = "0123abcd-pvc-1"
NODE = "compute-1"
KEY = b"a key of the lab"
NONCE = "00112233445566aa"
OTHER_NONCE = "bb66554433221100"
SIZE = 64 << 20
BLOCK = Capability("SINGLE_NODE_WRITER", None)
EXT4 = Capability("SINGLE_NODE_WRITER", "ext4")
STAGING = Path("/run/recording/staging")
TARGET = Path("/run/recording/target")
READ_ONLY = Path("/run/recording/read-only")


def publication(portal: str, nonce: str = NONCE) -> Publication:
    return Publication(
        volume_id=VOLUME,
        node_id=NODE,
        target=names.target_iqn(VOLUME),
        portals=(portal,),
        lun=LUN,
        serial=names.serial(VOLUME),
        size_bytes=SIZE,
        nonce=nonce,
        key_id="1",
    )


async def _export(backing: Path, published: Publication) -> None:
    """Make the target in tgtd, as the storage role does."""
    backing.parent.mkdir(parents=True, exist_ok=True)
    with backing.open("wb") as file:
        file.truncate(SIZE)
    serial = published.serial
    identity = f"vendor_id=CSILVM,product_id=VOLUME,scsi_sn={serial},scsi_id={serial}"
    await _tgtadm(
        f"new --mode target --tid 99 -T {published.target}",
        f"new --mode logicalunit --tid 99 --lun {LUN} -b {backing}",
        f"update --mode logicalunit --tid 99 --lun {LUN} --params {identity}",
        f"bind --mode target --tid 99 -Q {names.initiator_iqn(NODE)}",
    )
    await _grant(published)


async def _grant(published: Publication) -> None:
    user = chap.user(VOLUME, published.nonce)
    password = chap.password(KEY, VOLUME, NODE, published.nonce)
    await _tgtadm(
        f"new --mode account --user {user} --password {password}",
        f"bind --mode account --tid 99 --user {user}",
    )


async def _tgtadm(*operations: str) -> None:
    for arguments in operations:
        await ProcessRunner().run(
            *("tgtadm", "--lld", "iscsi", "--op", *arguments.split()),
            where=Where.HERE,
            seconds=10,
        )


def _path(sys_session: Path) -> dict[str, object]:
    """What the kernel has for one session."""
    directory = (sys_session / "device").resolve()
    scsi = next(directory.glob(f"target*/*:{LUN}"))
    block = next((scsi / "block").iterdir())
    connection = next(directory.glob("connection*/iscsi_connection/*"))
    return {
        "portal": [
            (connection / name).read_text().strip()
            for name in ("persistent_address", "persistent_port")
        ],
        "session": str(directory.relative_to("/sys")),
        "attributes": {
            name: (sys_session / name).read_text()
            for name in ("targetname", "username", "state", "target_id", "recovery_tmo")
        },
        "scsi": str(scsi.relative_to("/sys")),
        "vpd_pg80": (scsi / "vpd_pg80").read_bytes().hex(),
        "disk": block.name,
        "size": (block / "size").read_text(),
        "dev": (block / "dev").read_text(),
    }


def _host() -> dict[str, object]:
    """What the kernel and iscsiadm have for the staged volume."""
    return _path(next(Path("/sys/class/iscsi_session").iterdir())) | {
        "record": _node_records(),
        "mounts": [
            line
            for line in Path("/proc/self/mountinfo").read_text().splitlines()
            if str(STAGING.parent) in line
        ],
    }


def _node_records() -> dict[str, str]:
    nodes = HostPaths().iscsi / "nodes" / names.target_iqn(VOLUME)
    password = chap.password(KEY, VOLUME, NODE, NONCE)
    return {path.name: path.read_text().replace(password, "{password}") for path in nodes.iterdir()}


def _multipath_host() -> dict[str, object]:
    mapper = Control()
    (uuid,) = (each for each in mapper.maps() if each.startswith("CSILVM"))
    return {
        "paths": [_path(entry) for entry in sorted(Path("/sys/class/iscsi_session").iterdir())],
        "record": _node_records(),
        "mounts": [],
        "map": uuid,
        "table": mapper.table(uuid),
        "status": mapper.status(uuid),
    }


async def _record_two_portals(
    portal: str, second: str, flows: Flows, recorder: Recorder, places: dict[str, str]
) -> None:
    """The life of a raw block volume with two portals, and how device-mapper tells of its map."""
    published = replace(publication(portal), portals=(portal, second))
    for _ in range(2):
        await flows.staging.stage(published, STAGING, BLOCK)
    (DIRECTORY / "host-multipath.json").write_text(json.dumps(_multipath_host(), indent=1) + "\n")
    await flows.staging.unstage(VOLUME, STAGING)
    recorder.save("multipath", places)


async def record(portal: str, second: str) -> None:
    """Go through the life of a volume as raw block, then as ext4, then through refusals."""
    published = publication(portal)
    backing = Path("/dev/shm/recording")
    await _export(backing, published)
    recorder = Recorder(ProcessRunner())
    places = {"staging": str(STAGING), "target": str(TARGET), "readonly": str(READ_ONLY)}
    settings = Settings("unix:///unused", NODE, {"1": KEY}, Path("/run/recording/state"))
    settings.state_directory.mkdir(parents=True, exist_ok=True)
    flows = wire(settings, recorder, HostPaths())
    await host_rules.ensure(recorder, HostPaths())
    recorder.save("rules", places)
    await _record_two_portals(portal, second, flows, recorder, places)
    for name, capability in (("block", BLOCK), ("blank", EXT4), ("ext4", EXT4)):
        for _ in range(2):
            await flows.staging.stage(published, STAGING, capability)
        for target in (TARGET, READ_ONLY):
            await flows.bind_mounts.publish(
                published, STAGING, target, capability, read_only=target == READ_ONLY
            )
        host = _host()
        places["disk"] = f"/dev/{host['disk']}"
        (DIRECTORY / f"host-{name}.json").write_text(json.dumps(host, indent=1) + "\n")
        for target in (TARGET, READ_ONLY):
            await flows.bind_mounts.unpublish(VOLUME, target)
        await flows.staging.unstage(VOLUME, STAGING)
        recorder.save(name, places)
    await flows.staging.stage(published, STAGING, EXT4)
    await flows.bind_mounts.publish(published, STAGING, TARGET, EXT4, read_only=False)
    await _grant(publication(portal, OTHER_NONCE))
    await flows.staging.stage(publication(portal, OTHER_NONCE), STAGING, EXT4)
    await flows.staging.unstage(VOLUME, STAGING)
    recorder.save("stale", places)
    with contextlib.suppress(DriverError):
        await flows.staging.stage(publication(portal, nonce="f" * 16), STAGING, BLOCK)
    recorder.save("refused", places)
    await ProcessRunner().run("mkswap", "-f", str(backing), where=Where.HERE, seconds=10)
    with contextlib.suppress(DriverError):
        await flows.staging.stage(published, STAGING, EXT4)
    recorder.save("signature", places)


if __name__ == "__main__":
    asyncio.run(record(*sys.argv[1:]))
