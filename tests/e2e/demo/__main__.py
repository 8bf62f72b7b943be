"""The main job of the driver, told as it happens in a lab of four hosts.

Installs what the lab needs (Debian, as root), brings it up in /var/tmp/csi-lvm-iscsi-demo, and
takes it down at the end, also after an error or Ctrl-C. The exit status is 0 if all was as told.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.e2e.demo import chapters, daemon, ending, virtual_machine
from tests.e2e.demo.performance import keep_option, perform
from tests.e2e.demo.scene import Scene
from tests.e2e.demo.screen import Screen
from tests.e2e.guest.guest import HOST_MEMORY_MIB, Guest
from tests.e2e.lab import prerequisites
from tests.e2e.lab.lab import Lab

DIRECTORY = Path("/var/tmp/csi-lvm-iscsi-demo")
LAB_COMMAND = f".venv/bin/python -m tests.e2e.lab --dir {DIRECTORY}"

LOOK_AROUND = f"""
The lab stays up. To look around:
   {LAB_COMMAND} status
   {LAB_COMMAND} exec storage-1 -- lvs
   {LAB_COMMAND} csi compute-1 NodeGetInfo
   {LAB_COMMAND} logs storage-1 storage
   {LAB_COMMAND} down
"""
WHERE_NEXT = """
Where to go next:
   README.md                                  what the driver does, and how to install it
   make test                                  this and much more, as tests
   .venv/bin/python -m tests.e2e.demo --keep  this again, with the lab left up to look around
"""


def main() -> int:
    """Tell the story; the exit status."""
    keep = keep_option("python -m tests.e2e.demo", __doc__)

    def show(screen: Screen) -> None:
        with _lab(screen, keep=keep) as lab:
            _tell(Scene(lab, screen))

    return perform(DIRECTORY, show, WHERE_NEXT)


@contextlib.contextmanager
def _lab(screen: Screen, *, keep: bool) -> Iterator[Lab]:
    """The lab, up, with this process in its network; it goes down again unless it is to be kept."""
    lab = Lab(DIRECTORY)
    screen.chapter("The lab comes up")
    screen.say(
        "Two storage hosts and two compute nodes, each a Linux kernel of its own (user-mode "
        "Linux, an ordinary process) with real LVM, tgt, open-iscsi and file systems, joined by a "
        "network. The driver's roles run in them as they do in a cluster; this demo speaks CSI to "
        "them as Kubernetes does. Long answers are shortened to the lines that matter. "
        "Coming up takes 20 to 30 s."
    )
    screen.line()
    prerequisites.ensure(screen.progress)
    if lab.hosts or lab.network.exists():
        screen.progress("an earlier demo left its lab: it is removed first")
        lab.down(screen.progress)
    try:
        _bring_up(lab, screen)
        lab.enter_network()
        yield lab
    finally:
        if keep:
            screen.line(LOOK_AROUND)
        else:
            _take_down(lab, screen)


def _bring_up(lab: Lab, screen: Screen) -> None:
    """The lab comes up while what the guest needs is fetched, which the lab's network cannot."""
    memory = {chapters.SECOND_NODE: HOST_MEMORY_MIB}
    with ThreadPoolExecutor(max_workers=1) as threads:
        fetching = threads.submit(prerequisites.ensure_guest, screen.progress)
        lab.up(storage=2, compute=2, memory_mib=memory, report=screen.progress)
        fetching.result()


def _take_down(lab: Lab, screen: Screen) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # impatience must leave nothing behind
    try:
        screen.say("The lab goes down.")
    finally:  # also where nobody reads any more
        lab.down()


def _tell(scene: Scene) -> None:
    files, checksum = chapters.file_system(scene)
    chapters.move(scene, files, checksum)
    with Guest(scene.lab.host(chapters.SECOND_NODE)) as guest:  # boots while the story goes on
        disk, device = chapters.raw_block(scene, files)
        daemon.daemon_dies(scene, disk, device)
        virtual_machine.a_guest_gets_it(scene, disk, guest)
    ending.delete(scene, files, disk)
    ending.show_nothing_left(scene)


if __name__ == "__main__":
    sys.exit(main())
