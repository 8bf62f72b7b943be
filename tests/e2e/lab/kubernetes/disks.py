"""Disks with the images in them, which the nodes start as copies of.

Unpacking an image takes a host many seconds; so one host does it, once, for all that come.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.e2e.lab.host import Host, make_system_disk
from tests.e2e.lab.kubernetes import archive as images
from tests.e2e.lab.kubernetes import builds, nodes
from tests.e2e.lab.lab import Lab
from tests.e2e.lab.prerequisites import CACHE

DISKS = CACHE / "kubernetes" / "disks"
SIZE_MIB = 16 * 1024
MEMORY_MIB = 1024
IMPORT_TIMEOUT = 300.0
KEPT = 8
"""So many disks stay: a lab may still run from one that is not the newest."""


class Workshop(Lab):
    """A lab of one host with containerd, whose disk is taken away in the end."""

    earlier: Path | None = None
    """What its disk is to be a copy of; else it is empty."""

    def _before_boot(self, hosts: list[Host]) -> None:
        (host,) = hosts
        nodes.furnish(host)
        if self.earlier:
            command = ["cp", "--sparse=always", str(self.earlier), str(host.system_disk)]
            subprocess.run(command, check=True)
        else:
            make_system_disk(host.system_disk, SIZE_MIB)

    def _after_boot(self, hosts: list[Host]) -> None:
        """It has no controller to tell anything."""


def ensure(archives: Sequence[Path], report: Callable[[str], None]) -> Path:
    """The disk that has these images, made if it is not there.

    Archives have names that follow from their content. It starts as a copy of the disk that has
    all but the last ones, if there is one: so what changes often is to come last.
    """
    disk = _disk(archives)
    with builds.alone(DISKS):
        if not disk.exists():
            known = _known(archives)
            _make(disk, _disk(archives[:known]) if known else None, archives[known:], report)
            _forget_old_disks()
    return disk


def _known(archives: Sequence[Path]) -> int:
    """How many of them, from the first on, a disk has."""
    return next((n for n in range(len(archives), 0, -1) if _disk(archives[:n]).exists()), 0)


def _make(
    disk: Path, earlier: Path | None, archives: Sequence[Path], report: Callable[[str], None]
) -> None:
    with Workshop(CACHE / "kubernetes" / f"workshop-{disk.stem}") as workshop:
        workshop.down()  # whoever was killed at work here has left it up
        workshop.earlier = earlier
        workshop.up(
            storage=0,
            compute=1,
            content="containerd",
            memory_mib={"compute-1": MEMORY_MIB},
            report=lambda _: None,
        )
        host = workshop.host("compute-1")
        for number, archive in enumerate(archives, 1):
            report(f"unpacking image {number} of {len(archives)} for the nodes: {archive.stem}")
            command = ("ctr", "--namespace=k8s.io", "image", "import", str(archive))
            host.exec(*command, timeout=IMPORT_TIMEOUT).check()
            for name, by_digest in images.by_digest(archive).items():
                # So KubeVirt asks for the image that a virtual machine boots which moves.
                host.exec("ctr", "--namespace=k8s.io", "image", "tag", name, by_digest).check()
        # What is frozen needs no journal to be read: others can start from it as it is.
        host.exec("sync").check()
        host.exec("fsfreeze", "--freeze", "/run/lab/system").check()
        host.cut()
        host.system_disk.rename(disk)


def _disk(archives: Sequence[Path]) -> Path:
    names = "\n".join(archive.name for archive in archives)
    return DISKS / f"{hashlib.sha256(names.encode()).hexdigest()[:16]}.img"


def _forget_old_disks() -> None:
    disks = sorted(DISKS.glob("*.img"), key=lambda disk: disk.stat().st_mtime)
    for disk in disks[:-KEPT]:
        disk.unlink()
