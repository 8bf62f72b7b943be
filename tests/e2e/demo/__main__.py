"""The main job of the driver, told as it happens in a lab of four hosts.

Installs what the lab needs (Debian, as root), brings it up in /var/tmp/csi-lvm-iscsi-demo, and
takes it down at the end, also after an error or Ctrl-C. The exit status is 0 if all was as told.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.e2e.demo import chapters, daemon, ending, virtual_machine
from tests.e2e.demo.scene import Mismatch, Scene
from tests.e2e.demo.screen import Screen
from tests.e2e.driver import Refused
from tests.e2e.guest.guest import HOST_MEMORY_MIB, Guest
from tests.e2e.lab import prerequisites
from tests.e2e.lab.errors import LabError
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
    keep = _options().keep
    screen = Screen(sys.stdout)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        with _only_demo(), _lab(screen, keep=keep) as lab:
            _tell(Scene(lab, screen))
    except (LabError, Mismatch, Refused, TimeoutError) as error:
        screen.failed(f"The demo failed: {error}")
        return 1
    except KeyboardInterrupt:
        screen.failed("Interrupted.")
        return 130
    except BrokenPipeError:  # nobody reads any more; Python's own flush at the end would complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    _sum_up(screen)
    screen.line(WHERE_NEXT)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.e2e.demo",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--keep", action="store_true", help="leave the lab up, to look around")
    return parser.parse_args()


@contextlib.contextmanager
def _only_demo() -> Iterator[None]:
    """Keep other demos out, whose lab would be this one's. LabError if there is one."""
    # An abstract socket leaves nothing behind, however its process ends.
    with socket.socket(socket.AF_UNIX) as lock:
        try:
            lock.bind(f"\0{DIRECTORY}")
        except OSError:
            raise LabError("Another demo is running here: wait for it to end.") from None
        yield


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


def _sum_up(screen: Screen) -> None:
    screen.title("What was shown")
    ends = [*(chapter.beginning for chapter in screen.chapters[1:]), screen.elapsed]
    rows = [
        (str(number), chapter.title, f"{end - chapter.beginning:6.1f} s")
        for number, (chapter, end) in enumerate(zip(screen.chapters, ends, strict=True), start=1)
    ]
    screen.table([*rows, ("", "All was as told, in", f"{screen.elapsed:6.1f} s")])


if __name__ == "__main__":
    sys.exit(main())
