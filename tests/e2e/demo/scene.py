"""What every chapter works with: the lab, the driver, and the screen on which both are shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.e2e.demo.answers import everything
from tests.e2e.demo.screen import Screen
from tests.e2e.driver import Driver, Volume
from tests.e2e.lab.errors import LabError
from tests.e2e.lab.lab import Lab


class Mismatch(Exception):
    """What was to be shown is not so."""


class Scene:
    """The running lab, in front of an audience. The process must be inside the lab's network."""

    def __init__(self, lab: Lab, screen: Screen) -> None:
        self.lab = lab
        self.screen = screen
        self.driver: Driver = ToldDriver(lab, screen)

    def ask(
        self, host: str, command: str, pick: Callable[[str], list[str]] = everything
    ) -> list[str]:
        """Run a shell command in a host, and show and return the lines that `pick` takes of what
        it says, be that an answer or a complaint."""
        result = self.lab.host(host).exec("sh", "-c", f"{{ {command}\n}} 2>&1")
        lines = pick(result.stdout.decode(errors="replace"))
        self.screen.evidence(host, command, lines)
        return lines

    def check(self, holds: bool, claim: str) -> None:  # noqa: FBT001 - reads as an assertion
        """Show that the claim was checked. Raises Mismatch where it does not hold."""
        if not holds:
            raise Mismatch(f"This does not hold: {claim}.")
        self.screen.proved(claim)

    def storage_host(self, volume: Volume) -> str:
        """The storage host that has the volume's LV."""
        for host in self.lab.hosts.values():
            device = f"vg0/{volume.id}"
            if host.identity.kind == "storage" and host.exec("lvs", device).status == 0:
                return host.name
        raise LabError(f"No storage host has an LV {volume.id}.")


class ToldDriver(Driver):
    """The driver, with every CSI call shown as it is made."""

    def __init__(self, lab: Lab, screen: Screen) -> None:
        super().__init__(lab)
        self._screen = screen

    def _call(self, host: str, role: str, method: str, request: dict[str, Any]) -> dict[str, Any]:
        with self._screen.call(method, _subject(host, role, request)):
            return super()._call(host, role, method, request)


def _subject(host: str, role: str, request: dict[str, Any]) -> str:
    """Which volume a call is about, and which node."""
    volume: str = request.get("name") or request["volume_id"]
    if role == "node":
        return f"{volume} on {host}"
    node = request.get("node_id")
    return f"{volume} for {node}" if node else volume
