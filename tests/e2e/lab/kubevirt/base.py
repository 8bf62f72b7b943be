"""The lowest layer of KubeVirt's images: a Debian with libvirt and QEMU."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.e2e.lab.kubernetes.product import CERTIFICATES, mirror, run
from tests.e2e.lab.prerequisites import CACHE

DIRECTORY = CACHE / "kubevirt"
SUITE = "trixie"
BACKPORTS = f"{SUITE}-backports"
"""Its libvirt asks QEMU for all features of a processor at once (`qom-list-get`). That of trixie,
11.3, asks for each: hundreds of times, which takes a lab host a minute and a half."""

PACKAGES = (
    "acl", "iproute2", "libvirt-clients", "libvirt-common", "libvirt-daemon",
    "libvirt-daemon-driver-qemu", "libvirt-daemon-log", "nftables", "procps", "qemu-system-x86",
    "qemu-utils", "swtpm", "util-linux",
)  # fmt: skip

LEFT_OUT = (
    "dev", "etc/apt", "etc/hostname", "etc/resolv.conf", "usr/share/doc", "usr/share/info",
    "usr/share/locale", "usr/share/man", "var/cache/apt", "var/lib/apt", "var/log",
    # libvirt would start and question it before each virtual machine.
    "usr/bin/qemu-system-i386",
)  # fmt: skip

QEMU = 107
"""The user of KubeVirt's images that virtual machines belong to."""

# libvirt-qemu is the default compiled into Debian's libvirt, which ends where it does not exist.
USERS = f"""\
root:x:0:0:root:/root:/bin/bash
qemu:x:{QEMU}:{QEMU}:qemu:/home/qemu:/bin/bash
nonroot:x:1001:1001::/home/nonroot:/bin/sh
libvirt-qemu:x:64055:108::/var/lib/libvirt:/usr/sbin/nologin
"""
GROUPS = f"""\
root:x:0:
tty:x:5:
disk:x:6:
qemu:x:{QEMU}:
kvm:x:108:
libvirt:x:109:
nonroot:x:1001:
libvirt-qemu:x:64055:
"""


def ensure(report: Callable[[str], None]) -> Path:
    """The layer as a tar file, made if it is not there."""
    made_of = repr((BACKPORTS, PACKAGES, LEFT_OUT, USERS, GROUPS)).encode()
    layer = DIRECTORY / f"base-{hashlib.sha256(made_of).hexdigest()[:10]}.tar"
    if not layer.exists():
        report(f"making a Debian {BACKPORTS} with libvirt and QEMU, once (about 3 minutes)")
        DIRECTORY.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=DIRECTORY) as name:
            root, unfinished = Path(name) / "root", Path(name) / layer.name
            _install(root)
            _settle(root)
            run("tar", "-C", str(root), "--numeric-owner", "-cf", str(unfinished), ".")
            unfinished.rename(layer)
    return layer


def _install(root: Path) -> None:
    run("debootstrap", "--variant=minbase", "--include=ca-certificates", SUITE, str(root), mirror())
    # How apt reaches its packages is this machine's.
    shutil.copytree("/etc/apt/apt.conf.d", root / "etc/apt/apt.conf.d", dirs_exist_ok=True)
    shutil.copy(CERTIFICATES, root / "etc/ssl/certs" / CERTIFICATES.name)
    # Debootstrap itself cannot: it does not know in which order these can be unpacked.
    backports = root / "etc/apt/sources.list.d/backports.list"
    backports.write_text(f"deb {mirror()} {BACKPORTS} main\n")
    run("chroot", str(root), "apt-get", "update")
    run(
        "chroot", str(root), "apt-get", "install", "--yes", "--no-install-recommends",
        f"--target-release={BACKPORTS}", *PACKAGES,
        environment={"DEBIAN_FRONTEND": "noninteractive"},
    )  # fmt: skip


def _settle(root: Path) -> None:
    """Give it users, and take away what it needs not, or has of this machine."""
    for path in (root / left_out for left_out in LEFT_OUT):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    (root / "var/log/libvirt").mkdir(parents=True)
    (root / "etc/passwd").write_text(USERS)
    (root / "etc/group").write_text(GROUPS)
    home = root / "home/qemu"
    home.mkdir(exist_ok=True)
    os.chown(home, QEMU, QEMU)
