"""Records the transcripts anew: `python -m tests.unit.node.record PORTAL PORTAL`.

Run it as root on a compute host of a lab, with tgtd listening on both and the node role stopped;
it makes one target in tgtd. The first PORTAL is that of `tests.unit.node.host`: give the host
that address (`ip address add 10.0.0.2/32 dev lo`).
"""

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from csi_lvm_iscsi.commands.runner import ProcessRunner, Where
from csi_lvm_iscsi.initiator import host_rules
from csi_lvm_iscsi.initiator.device_mapper import Control
from csi_lvm_iscsi.initiator.host_paths import HostPaths
from csi_lvm_iscsi.model import chap, names
from csi_lvm_iscsi.model.access import Capability
from csi_lvm_iscsi.model.errors import DriverError
from csi_lvm_iscsi.model.publications import LUN, Publication
from csi_lvm_iscsi.node.service import Settings, wire
from tests.unit.node.transcripts import DIRECTORY, Recorder

VOLUME = "0123abcd-pvc-1"
NODE = "compute-1"
KEY = b"a key of the lab"
NONCE = "00112233445566aa"
OTHER_NONCE = "bb66554433221100"
SIZE = 320 << 20
GROWN = 384 << 20
HEAD = 2048
READER = "SINGLE_NODE_READER_ONLY"
BLOCK = Capability("SINGLE_NODE_WRITER", None)
EXT4 = Capability("SINGLE_NODE_WRITER", "ext4")
XFS = Capability("SINGLE_NODE_WRITER", "xfs")
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


class Disk:
    """The file behind the target: blank, or with what is on it, and as large as is told."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def blank(self) -> None:
        """Nothing is on it, and it has its first size."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_bytes(b"")
        self.resize(SIZE)

    def resize(self, size: int) -> None:
        with self.path.open("r+b") as file:
            file.truncate(size)

    def head(self) -> str:
        """Its first bytes, where superblocks are."""
        with self.path.open("rb") as file:
            return file.read(HEAD).rstrip(b"\0").hex()

    async def reopen(self) -> None:
        """Have tgtd learn its size, as it must when it grew."""
        for change in ("online=0", f"path={self.path}", "online=1"):
            await _tgtadm(f"update --mode logicalunit --tid 99 --lun {LUN} --params {change}")

    def leave_half_made(self, argv: Sequence[str]) -> None:
        """Kill mkfs.xfs when its superblock is there."""
        making = subprocess.Popen(argv)
        while self.head()[:8] != b"XFSB".hex():
            time.sleep(0.001)
        making.kill()
        making.wait()


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
        "state": (scsi / "state").read_text(),
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


class Recording:
    """One node, and what is recorded of it."""

    def __init__(self, portal: str) -> None:
        self.portal = portal
        self.published = publication(portal)
        self.disk = Disk(Path("/dev/shm/recording"))
        self.recorder = Recorder(ProcessRunner())
        self.places = {
            "staging": str(STAGING),
            "target": str(TARGET),
            "readonly": str(READ_ONLY),
        }
        settings = Settings("unix:///unused", NODE, {"1": KEY}, Path("/run/recording/state"))
        settings.state_directory.mkdir(parents=True, exist_ok=True)
        self.flows = wire(settings, self.recorder, HostPaths())

    async def life(self, name: str, capability: Capability, *, grows: bool = False) -> None:
        """Stage and publish a volume, twice each, grow it, and take it away; saved as `name`."""
        host: dict[str, object] = {"found": self.disk.head()}
        for _ in range(2):
            await self.flows.staging.stage(self.published, STAGING, capability)
        for target in (TARGET, READ_ONLY):
            await self.flows.bind_mounts.publish(
                self.published, STAGING, target, capability, read_only=target == READ_ONLY
            )
        host |= _host() | {"made": self.disk.head()}
        if grows:
            self.disk.resize(GROWN)
            await self.disk.reopen()
            await self.flows.expansion.expand(VOLUME, TARGET, GROWN, 0)
            host["grown_size"] = _host()["size"]
        for target in (TARGET, READ_ONLY):
            await self.flows.bind_mounts.unpublish(VOLUME, target)
        await self.flows.staging.unstage(VOLUME, STAGING)
        if grows:
            host["grown"] = self.disk.head()
        self.places["disk"] = f"/dev/{host['disk']}"
        (DIRECTORY / f"host-{name}.json").write_text(json.dumps(host, indent=1) + "\n")
        self.recorder.save(name, self.places)

    async def two_portals(self, second: str) -> None:
        """The life of a raw block volume with two portals, and device-mapper's words of its map."""
        published = replace(self.published, portals=(self.portal, second))
        for _ in range(2):
            await self.flows.staging.stage(published, STAGING, BLOCK)
        text = json.dumps(_multipath_host(), indent=1)
        (DIRECTORY / "host-multipath.json").write_text(text + "\n")
        await self.flows.staging.unstage(VOLUME, STAGING)
        self.recorder.save("multipath", self.places)

    async def refusal(self, name: str, capability: Capability, nonce: str = NONCE) -> None:
        """A stage that is refused."""
        with contextlib.suppress(DriverError):
            await self.flows.staging.stage(publication(self.portal, nonce), STAGING, capability)
        self.recorder.save(name, self.places)

    async def shrink(self) -> None:
        """A blank disk of the first size again."""
        self.disk.blank()
        await self.disk.reopen()


async def record(portal: str, second: str) -> None:
    """Go through the life of a volume as raw block, then as ext4 and XFS, then through refusals."""
    run = Recording(portal)
    run.disk.blank()
    await _export(run.disk.path, run.published)
    await host_rules.ensure(run.recorder, HostPaths())
    run.recorder.save("rules", run.places)
    await run.two_portals(second)
    await run.life("block", BLOCK)
    await run.life("blank", EXT4)
    await run.life("ext4", EXT4, grows=True)
    await run.life("ext4-read-only", replace(EXT4, access_mode=READER))
    await run.refusal("ext4-bad-option", replace(EXT4, mount_flags=("nonsense",)))
    await run.flows.staging.stage(run.published, STAGING, EXT4)
    await run.flows.bind_mounts.publish(run.published, STAGING, TARGET, EXT4, read_only=False)
    await _grant(publication(portal, OTHER_NONCE))
    await run.flows.staging.stage(publication(portal, OTHER_NONCE), STAGING, EXT4)
    await run.flows.staging.unstage(VOLUME, STAGING)
    run.recorder.save("stale", run.places)
    await run.refusal("refused", BLOCK, nonce="f" * 16)
    await ProcessRunner().run("mkswap", "-f", str(run.disk.path), where=Where.HERE, seconds=10)
    await run.refusal("signature", EXT4)
    await run.shrink()
    await run.life("xfs-blank", XFS)
    await run.life("xfs", XFS, grows=True)
    await run.life("xfs-read-only", replace(XFS, access_mode=READER))
    await run.refusal("xfs-bad-option", replace(XFS, mount_flags=("nonsense",)))
    await run.shrink()
    await run.flows.staging.stage(run.published, STAGING, BLOCK)
    made = json.loads((DIRECTORY / "xfs-blank.json").read_text())
    argv = next(each["argv"] for each in made if each["argv"][0] == "mkfs.xfs")
    run.disk.leave_half_made([word.replace("{disk}", run.places["disk"]) for word in argv])
    await run.flows.staging.unstage(VOLUME, STAGING)
    run.recorder.save("half-made", run.places)
    await run.life("xfs-half-made", XFS)
    (DIRECTORY / "half-made.json").unlink()


if __name__ == "__main__":
    asyncio.run(record(*sys.argv[1:]))
