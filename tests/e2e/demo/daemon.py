"""The chapter in which the iSCSI target daemon is killed, and nothing happens."""

from __future__ import annotations

from tests.e2e.demo.chapters import FIRST_NODE, show_targets
from tests.e2e.demo.scene import Scene
from tests.e2e.demo.writer import COMMAND, TOTAL_MIB, Outcome, Writer
from tests.e2e.driver import Volume


def daemon_dies(scene: Scene, volume: Volume, disk: str) -> None:
    """tgtd is killed under a writer, which notices nothing but a pause."""
    scene.screen.chapter("The target daemon is killed under a writer, and nothing happens")
    storage = scene.storage_host(volume)
    scene.screen.say(
        "A writer fills blocks in random order past all caches, each with a checksum in it, and "
        "reads them all back at the end. Meanwhile tgtd, through which every byte goes, is killed. "
        "All its state was in its memory: the driver exports everything anew and opens the portal "
        "last, so that the node's initiator, which keeps the writes meanwhile, logs in again and "
        "sends them."
    )
    scene.ask(FIRST_NODE, "iscsiadm --mode session")
    outcome = _write_while_daemon_dies(scene, volume, disk, storage)
    show_targets(scene, storage)
    scene.ask(FIRST_NODE, "iscsiadm --mode session")
    _check(scene, outcome)


def _write_while_daemon_dies(scene: Scene, volume: Volume, disk: str, storage: str) -> Outcome:
    scene.screen.evidence(FIRST_NODE, COMMAND.format(path=volume.target_path), ["..."])
    writer = Writer(scene.lab.host(FIRST_NODE), disk, volume.target_path, scene.screen)
    writer.wait_written(TOTAL_MIB // 4)
    old = _daemon(scene, storage)
    scene.lab.host(storage).exec("kill", "-KILL", old).check()
    writer.tell(f"{storage}$ kill -KILL {old}   # tgtd")
    writer.wait_until(lambda: _is_open(scene, storage), "tgtd opens its portal again")
    writer.tell(f"tgtd is back as process {_daemon(scene, storage)}, and its portal is open")
    for quarter in (2, 3, 4):
        writer.wait_written(TOTAL_MIB * quarter // 4)
    return writer.finish()


def _daemon(scene: Scene, storage: str) -> str:
    return scene.lab.host(storage).exec("pidof", "tgtd").text


def _is_open(scene: Scene, storage: str) -> bool:
    host = scene.lab.host(storage)
    portals = host.exec("tgtadm", "--mode", "portal", "--op", "show").text
    return host.identity.data_address in portals


def _check(scene: Scene, outcome: Outcome) -> None:
    scene.check(outcome.error == 0, "the writer got no error")
    scene.check(
        outcome.read_back == outcome.written > 0,
        f"all {outcome.written:,} blocks that were written were read back and are right",
    )
    scene.screen.proved(f"the longest that a write had to wait: {outcome.longest_pause:.1f} s")
