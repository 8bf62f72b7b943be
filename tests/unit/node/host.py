"""A host of files: sysfs, mountinfo and iscsiadm's database as they were captured on a real one.

Commands are answered from transcripts; the files then change as they did there.
"""

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from csi_lvm_iscsi.commands.runner import Completed, Where
from csi_lvm_iscsi.initiator.host_paths import HostPaths
from csi_lvm_iscsi.model import chap, names
from csi_lvm_iscsi.model.publications import Publication
from csi_lvm_iscsi.node.service import Flows, Settings, wire
from tests.unit.node import record
from tests.unit.node.mapper import Mapper
from tests.unit.node.transcripts import DIRECTORY, Transcript

PORTAL = "10.0.0.2:3260"


class Killed(BaseException):
    """The role was killed: nothing of it runs any more, not even its clean-up."""


class Host:
    """The host, and the Runner of the role on it."""

    def __init__(self, root: Path, captured: str, *transcripts: str) -> None:
        self.root = root
        self.captured: dict[str, Any] = json.loads(
            (DIRECTORY / f"host-{captured}.json").read_text()
        )
        self.transcript = Transcript.load(*transcripts)
        self.staging = root / "staging"
        self.target = root / "pods" / "target"
        self.read_only = root / "pods" / "read-only"
        self.paths = HostPaths(
            iscsi=root / "iscsi",
            sys=root / "sys",
            dev=root / "dev",
            udev_rules=root / "rules.d",
            mountinfo=root / "mountinfo",
            boot_id=root / "boot_id",
        )
        self.mapper = Mapper(self.paths, self.act)
        self.dead_portals: set[str] = set()
        self.commands: list[tuple[str, ...]] = []
        self.removed: list[str] = []
        """The states that disks had when they were removed."""
        self.grown = False
        """Whether the storage host grew the disk; the kernel learns it when asked to rescan."""
        self.die_after: int | None = None
        self.user = chap.user(record.VOLUME, record.NONCE)
        for directory in (self.paths.iscsi, self.paths.dev, self._class):
            directory.mkdir(parents=True)
        self.paths.mountinfo.write_text("22 1 0:20 / / rw,relatime - hostfs /dev/root rw\n")
        self.paths.boot_id.write_text("7c0b4f0a-0000-4000-8000-000000000001\n")

    @property
    def _class(self) -> Path:
        return self.paths.sys / "class" / "iscsi_session"

    @property
    def _name(self) -> str:
        return Path(self.captured["session"]).name

    @property
    def scsi(self) -> Path:
        return self.paths.sys / str(self.captured["scsi"])

    @property
    def disk(self) -> Path:
        return self.paths.dev / str(self.captured["disk"])

    @property
    def _scan(self) -> Path:
        host = Path(self.captured["session"]).parent.name
        return self.paths.sys / "class" / "scsi_host" / host / "scan"

    def flows(self) -> Flows:
        """The role as it is after a start."""
        state = self.root / "state"
        state.mkdir(exist_ok=True)
        settings = Settings("unix:///unused", record.NODE, {"1": record.KEY}, state)
        return wire(settings, self, self.paths, self.mapper, self.answers)

    async def answers(self, portal: str) -> bool:
        """Whether a portal takes connections."""
        return portal not in self.dead_portals

    def state(self) -> dict[str, Any]:
        """Everything that a call may leave."""
        return {
            "sessions": sorted(path.name for path in self._class.iterdir()),
            "disk": self.scsi.exists(),
            "mounts": self.paths.mountinfo.read_text().count("\n") - 1,
            "targets": sorted(path.name for path in self.paths.iscsi.glob("nodes/*")),
            "records": sorted(
                path.read_text() for path in (self.root / "state" / "staged").glob("*")
            ),
        }

    async def run(
        self,
        *argv: str,
        where: Where,
        seconds: float,
        expect: Sequence[int] = (0,),
        kill: bool = True,
    ) -> Completed:
        """See Runner.run."""
        self.act(argv)
        completed = self.transcript.answer(
            argv,
            where,
            {
                "disk": str(self.disk),
                "staging": str(self.staging),
                "target": str(self.target),
                "readonly": str(self.read_only),
            },
        )
        if completed.code == 0:
            self._change(argv)
        completed.expected(expect)
        await asyncio.sleep(0)
        return completed

    def act(self, action: tuple[str, ...]) -> None:
        """Count what the role does outside itself; it dies where it was told to."""
        if self.die_after == len(self.commands):
            raise Killed
        self.commands.append(action)

    def _change(self, argv: tuple[str, ...]) -> None:
        """What the command did to the host."""
        if "--login" in argv:
            self.begin_session()
        elif "--logout" in argv:
            self.end_session()
        elif argv[-2:] == ("--op", "new"):
            for name, text in self.captured["record"].items():
                path = self.paths.iscsi / "nodes" / names.target_iqn(record.VOLUME) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
        elif argv[-2:] == ("--op", "delete"):
            shutil.rmtree(self.paths.iscsi / "nodes" / names.target_iqn(record.VOLUME))
        elif argv[0] == "mount":
            self.add_mount(Path(argv[-1]))
        elif argv[0] == "umount":
            self._remove_mount(Path(argv[-1]))
        elif argv[0].startswith("mkfs."):
            self._write_head("made")
        elif argv[0] in ("resize2fs", "xfs_growfs"):
            self._write_head("grown")

    def begin_session(self) -> None:
        entry = self._class / self._name
        entry.mkdir()
        for name, value in {"recovery_tmo": "600\n", **self.captured["attributes"]}.items():
            (entry / name).write_text(value)
        (entry / "username").write_text(self.user)
        directory = self.paths.sys / self.captured["session"]
        directory.mkdir(parents=True)
        (entry / "device").symlink_to(directory)
        connection = directory / f"connection{self._name.removeprefix('session')}:0"
        connection = connection / "iscsi_connection" / connection.name
        connection.mkdir(parents=True)
        address, port = self.captured.get("portal", next(iter(self.captured["record"])).split(","))
        (connection / "persistent_address").write_text(f"{address}\n")
        (connection / "persistent_port").write_text(f"{port}\n")
        self._scan.parent.mkdir(parents=True, exist_ok=True)
        self._scan.write_text("")

    def end_session(self) -> None:
        self._remove_disk()
        shutil.rmtree(self._class / self._name)
        shutil.rmtree(self.paths.sys / self.captured["session"])

    def add_disk(self) -> None:
        block = self.scsi / "block" / self.captured["disk"]
        block.mkdir(parents=True)
        (block / "dev").write_text(self.captured["dev"])
        (block / "size").write_text(self.captured["size"])
        (self.scsi / "vpd_pg80").write_bytes(bytes.fromhex(self.captured["vpd_pg80"]))
        (self.scsi / "state").write_text(self.captured["state"])
        for name in ("delete", "rescan"):
            (self.scsi / name).write_text("")
        self.write_same.parent.mkdir(parents=True)
        self.write_same.write_text("65535\n")
        self._number.mkdir(parents=True)
        self._write_head("found")

    @property
    def write_same(self) -> Path:
        """How many blocks the kernel may zero with one WRITE SAME."""
        return self.scsi / "scsi_disk" / self.scsi.name / "max_write_same_blocks"

    def _write_head(self, captured: str) -> None:
        self.disk.write_bytes(bytes.fromhex(self.captured[captured]).ljust(4096, b"\0"))

    def swap_disk(self) -> None:
        """Have another disk behind the session: the kernel learns of it when asked to rescan."""
        self.captured["vpd_pg80"] = b"another".hex().rjust(22, "0")
        (self.scsi / "rescan").unlink()
        # To write here changes at once what is read there, as in the kernel.
        (self.scsi / "rescan").symlink_to("vpd_pg80")

    def _remove_disk(self) -> None:
        if self.scsi.exists():
            shutil.rmtree(self.scsi)
            self._number.rmdir()
            self.disk.unlink()

    @property
    def _number(self) -> Path:
        return self.paths.sys / "dev" / "block" / str(self.captured["dev"]).strip()

    def add_mount(self, target: Path) -> None:
        """The captured line of the mount that had this place."""
        places = {
            self.staging: record.STAGING,
            self.target: record.TARGET,
            self.read_only: record.READ_ONLY,
        }
        place = str(places[target])
        line = next(line for line in self.captured["mounts"] if f" {place} " in line)
        with self.paths.mountinfo.open("a") as file:
            file.write(line.replace(place, str(target)) + "\n")

    def _remove_mount(self, target: Path) -> None:
        lines = self.paths.mountinfo.read_text().splitlines(keepends=True)
        last = max(i for i, line in enumerate(lines) if f" {target} " in line)
        self.paths.mountinfo.write_text("".join(lines[:last] + lines[last + 1 :]))

    async def _kernel(self) -> None:
        """Do what is asked for through sysfs."""
        while True:
            self.answer_sysfs()
            await asyncio.sleep(0.001)

    def answer_sysfs(self) -> None:
        """Do what was asked for since the last time."""
        if self._scan.exists() and self._scan.read_text() and not self.scsi.exists():
            assert self._scan.read_text() == "0 0 1"
            self._scan.write_text("")
            self.add_disk()
        if self.grown and self.scsi.exists() and (self.scsi / "rescan").read_text():
            size = self.scsi / "block" / self.captured["disk"] / "size"
            size.write_text(self.captured["grown_size"])
        if self.scsi.exists() and (self.scsi / "delete").read_text() == "1":
            self.removed.append((self.scsi / "state").read_text())
            self._remove_disk()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        kernel = asyncio.create_task(self._kernel())
        try:
            yield
        finally:
            kernel.cancel()


def published(nonce: str = record.NONCE) -> Publication:
    """The publication that was recorded."""
    return record.publication(PORTAL, nonce)
