"""The last chapter: everything is deleted, and nothing is left."""

from __future__ import annotations

from collections.abc import Iterator

from tests.e2e.demo.chapters import FIRST_NODE, SECOND_NODE
from tests.e2e.demo.scene import Scene
from tests.e2e.driver import Volume
from tests.e2e.lab.host import Host
from tests.e2e.leftovers import leftovers, questions


def delete(scene: Scene, files: Volume, disk: Volume) -> None:
    """Detach and delete both volumes."""
    scene.screen.chapter("Everything is deleted, and nothing is left")
    scene.screen.say(
        "Detach and delete (Cinder: delete volume). The thin pool zeroes a block before it gives "
        "it to another volume, so no later owner can read what was here."
    )
    scene.driver.detach(files, SECOND_NODE)
    scene.driver.detach(disk, FIRST_NODE)
    scene.driver.delete(files)
    scene.driver.delete(disk)


def show_nothing_left(scene: Scene) -> None:
    """Ask every host for everything the driver could have left. Raises Mismatch where there is."""
    scene.screen.say("Every host is asked for whatever a volume could have left on it:")
    left = leftovers(scene.lab)
    for kind in ("storage", "compute"):
        hosts = [host for host in scene.lab.hosts.values() if host.identity.kind == kind]
        scene.screen.line()
        scene.screen.table(_rows(hosts, left))
    scene.screen.line()
    scene.check(not left, "; ".join(["nothing is left", *left]))


def _rows(hosts: list[Host], left: list[str]) -> Iterator[tuple[str, ...]]:
    yield ("", "", *(host.name for host in hosts))
    for kind, question in questions(hosts[0]).items():
        yield (kind, question, *(_found(host, kind, left) for host in hosts))


def _found(host: Host, kind: str, left: list[str]) -> str:
    found = sum(line.startswith(f"{host.name}: {kind}: ") for line in left)
    return str(found or "none")
