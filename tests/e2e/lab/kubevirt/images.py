"""KubeVirt's images, as an archive that containerd imports.

`python -m tests.e2e.lab.kubevirt.images` makes it, for those who want to see that.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from pathlib import Path

from tests.e2e.lab import prerequisites
from tests.e2e.lab.kubernetes import archive, builds
from tests.e2e.lab.kubernetes.archive import File
from tests.e2e.lab.kubernetes.images import DIRECTORY
from tests.e2e.lab.kubernetes.product import run
from tests.e2e.lab.kubevirt import base

VERSION = builds.version("kubevirt.io/kubevirt", "kubevirt")
REGISTRY = "localhost/kubevirt"
UNPRIVILEGED = "1001"
USERS = {
    "virt-operator": UNPRIVILEGED,
    "virt-api": UNPRIVILEGED,
    "virt-controller": UNPRIVILEGED,
    "virt-handler": "",
    "virt-launcher": "",
}
"""The images, and as whom they run."""

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"

_REVISION_2, _EFFECTIVE = 0x02000000, 1
_NET_BIND_SERVICE = 10
MAY_BIND = struct.pack("<5I", _REVISION_2 | _EFFECTIVE, 1 << _NET_BIND_SERVICE, 0, 0, 0)
"""What `setcap cap_net_bind_service=+ep` writes (struct vfs_cap_data of linux/capability.h)."""

VIRTQEMUD = b"""\
#!/bin/sh
# Debian builds libvirt's one daemon for all only: it answers to the name that KubeVirt starts, on
# the socket that KubeVirt dials.
mkdir -p /var/run/libvirt
ln -sfn libvirt-sock /var/run/libvirt/virtqemud-sock
exec /usr/sbin/libvirtd "$@"
"""
SOCKETS = b'unix_sock_dir = "/var/run/libvirt"\n'


def name(program: str) -> str:
    """The image of one of KubeVirt's programs."""
    return f"{REGISTRY}/{program}:{VERSION}"


def ensure(report: Callable[[str], None]) -> Path:
    """The archive of all of KubeVirt's images, made if it is not there.

    The programs must have been built.
    """
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    lowest = base.ensure(report)
    recipe = Path(__file__).read_bytes()
    digest = hashlib.sha256(recipe + str((lowest.name, builds.KUBEVIRT_BIN)).encode())
    place = DIRECTORY / f"kubevirt-{digest.hexdigest()[:12]}.tar"
    if not place.exists():
        report("writing KubeVirt's images")
        layer = place.with_suffix(".layer")
        archive.write_layer(layer, _files())
        images = [
            archive.Image(name(each), [lowest, layer], [f"/usr/bin/{each}"], user, PATH)
            for each, user in USERS.items()
        ]
        unfinished = place.with_suffix(".unfinished")
        archive.write(unfinished, *images)
        layer.unlink()
        unfinished.rename(place)
    return place


def _files() -> archive.Files:
    """KubeVirt's own programs and settings, by the path where it looks for them."""
    source = builds.source("kubevirt.io/kubevirt", "kubevirt") / "cmd"
    launcher = source / "virt-launcher"
    programs = {
        f"usr/bin/{program}": File(
            builds.KUBEVIRT_BIN / program,
            capabilities=MAY_BIND if program == "virt-launcher-monitor" else b"",
        )
        for program in builds.KUBEVIRT
        if program != "resource-generator"
    }
    daemon = File((launcher / "virtqemud.conf").read_bytes() + SOCKETS, 0o644)
    return {
        **programs,
        # Debian's leads to /run, which is another's for virt-handler when it reaches into a pod's
        # root: its sockets of a migration would be in its own.
        "var/run": "../run",
        "usr/bin/container-disk": File(_container_disk(source / "container-disk-v2alpha")),
        "usr/bin/node-labeller.sh": File(launcher / "node-labeller" / "node-labeller.sh"),
        "usr/sbin/virtqemud": File(VIRTQEMUD),
        "etc/libvirt/qemu.conf": File(launcher / "qemu.conf", 0o644),
        "etc/libvirt/virtqemud.conf": daemon,
        "etc/libvirt/libvirtd.conf": daemon,
        "etc/libvirt/hooks/qemu": File(launcher / "qemu"),
    }


def _container_disk(source: Path) -> Path:
    """The program that runs in users' images, which have nothing else: so it is static."""
    place = builds.KUBEVIRT_BIN / "container-disk"
    run("gcc", "-static", "-O2", "-o", str(place), str(source / "main.c"))
    return place


if __name__ == "__main__":
    prerequisites.ensure_kubevirt(print)
    builds.ensure_kubevirt(print)
    print(ensure(print))
