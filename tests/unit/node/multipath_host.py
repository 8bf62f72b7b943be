"""A host of files with two portals: what was captured of the one session stands twice."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

from csi_lvm_iscsi.initiator.path_upkeep import PathUpkeep
from csi_lvm_iscsi.model import names, portals
from csi_lvm_iscsi.model.publications import Publication
from tests.unit.node import record
from tests.unit.node.host import Host


class MultipathHost(Host):
    """Each path is the host as it would be with that path alone."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, "multipath", "multipath")
        self.all = self.captured
        by_portal = sorted(self.all["paths"], key=lambda path: str(_portal(path)))
        self.path: dict[str, dict[str, Any]] = {
            _portal(path): {"state": "running\n", "found": "", "record": self.all["record"], **path}
            for path in by_portal
        }
        self.select(self.portals[0])

    @property
    def portals(self) -> tuple[str, ...]:
        return tuple(self.path)

    def published(self, nonce: str = record.NONCE) -> Publication:
        """The publication that was recorded."""
        return replace(record.publication(self.portals[0], nonce), portals=self.portals)

    def select(self, portal: str) -> None:
        """Look at one path."""
        self.captured = self.path[portal]

    def number(self, portal: str) -> str:
        """The major:minor of a path's disk."""
        return str(self.path[portal]["dev"]).strip()

    def set_state(self, portal: str, session: str, disk: str) -> None:
        """Cut a path, or have it back."""
        self.select(portal)
        (self._class / self._name / "state").write_text(f"{session}\n")
        (self.scsi / "state").write_text(f"{disk}\n")

    def cut(self, portal: str) -> None:
        """Lose a path, as the kernel does when replacement_timeout is over."""
        self.set_state(portal, "FREE", "transport-offline")
        self.mapper.fail(self.number(portal))
        self.dead_portals.add(portal)

    def heal(self, portal: str) -> None:
        """The session is back; iscsid saw to that."""
        self.set_state(portal, "LOGGED_IN", "running")
        self.dead_portals.discard(portal)

    def lose_session(self, portal: str) -> None:
        """Have iscsid end a session, as it does when its login is refused."""
        self.select(portal)
        self.end_session()
        self.mapper.fail(self.number(portal))

    def grow(self, *portals: str) -> None:
        """Double the disks of paths."""
        for portal in portals:
            self.select(portal)
            size = self.scsi / "block" / self.captured["disk"] / "size"
            size.write_text(f"{2 * int(size.read_text())}\n")

    def state(self) -> dict[str, Any]:
        """Everything that a call may leave."""
        disks = []
        for portal in self.portals:
            self.select(portal)
            disks.append(self.scsi.exists())
        return super().state() | {"disk": disks, "maps": self.mapper.states()}

    def _change(self, argv: tuple[str, ...]) -> None:
        if "--portal" in argv:
            self.select(argv[argv.index("--portal") + 1])
        if "--sid" in argv:
            session = f"session{argv[argv.index('--sid') + 1]}"
            for portal, path in self.path.items():
                if path["session"].endswith(f"/{session}"):
                    self.select(portal)
        if argv[-2:] == ("--op", "new"):
            name = ",".join(self.captured["portal"])
            file = self.paths.iscsi / "nodes" / names.target_iqn(record.VOLUME) / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(self.captured["record"][name])
            return
        super()._change(argv)

    def answer_sysfs(self) -> None:
        for portal in self.portals:
            self.select(portal)
            super().answer_sysfs()


def _portal(path: dict[str, Any]) -> str:
    address, port = path["portal"]
    return portals.portal(address, int(port))


async def stage(host: MultipathHost, nonce: str = record.NONCE) -> None:
    async with host.running():
        await host.flows().staging.stage(host.published(nonce), host.staging, record.BLOCK)


async def unstage(host: MultipathHost) -> None:
    async with host.running():
        await host.flows().staging.unstage(record.VOLUME, host.staging)


async def look(host: MultipathHost) -> None:
    """What a role that was just started does for the paths."""
    async with host.running():
        await looked(host.flows().path_upkeep)


async def looked(upkeep: PathUpkeep) -> None:
    """One look at all maps, to its end."""
    async with asyncio.TaskGroup() as looks:
        upkeep.look(looks)
