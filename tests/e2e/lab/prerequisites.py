"""What the builder needs before a lab can run.

`python -m tests.e2e.lab.prerequisites` installs it, for those who want to see that.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tests.e2e.lab import xstate
from tests.e2e.lab.errors import LabError

PACKAGES = (
    "user-mode-linux", "kmod", "udev", "lvm2", "thin-provisioning-tools", "tgt", "open-iscsi",
    "e2fsprogs", "xfsprogs", "fdisk", "fio", "iproute2", "iputils-ping", "openssl", "procps",
    "strace", "util-linux",
)  # fmt: skip

KUBERNETES_PACKAGES = (
    "buildah", "busybox-static", "containerd", "containernetworking-plugins", "debootstrap", "runc",
)  # fmt: skip
"""What a lab needs besides whose hosts are nodes of a cluster."""

KUBEVIRT_PACKAGES = (
    "gcc", "isolinux", "libc6-dev", "libvirt-dev", "pkg-config", "syslinux-common", "xorriso",
)  # fmt: skip
"""What building KubeVirt, and a disc that its guests boot, needs besides."""

GUEST_PACKAGES = (
    "qemu-system-x86", "qemu-system-common", "qemu-system-data", "seabios", "busybox-static",
)  # fmt: skip
GUEST_KERNEL = "linux-image-cloud-amd64"
"""It depends on the package of the newest kernel."""
CACHE = Path(os.environ.get("LAB_CACHE") or "/var/cache/csi-lvm-iscsi-lab")
"""What takes long to make is kept there, for all labs."""
GUEST_FILES = CACHE / "guest"
"""What these packages have, unpacked and not installed: the hosts of a lab that comes up meanwhile
see the builder's root, so its programs and libraries must not change under them."""

KERNEL_MODULES = Path("/usr/lib/uml/modules")
SYSTEM_MODULES = Path("/lib/modules")
TUN_DEVICE = Path("/dev/net/tun")
LOCK = Path("/var/lock/csi-lvm-iscsi-lab")
GUEST_LOCK = Path("/var/lock/csi-lvm-iscsi-lab-guest")
APT_PATIENCE = 300
"""Seconds to wait for another apt-get."""


def ensure(report: Callable[[str], None]) -> None:
    """Install what is missing, or raise LabError where that needs a person."""
    if os.geteuid() != 0:
        raise LabError("The lab makes network namespaces: run it as root.")
    with _alone(LOCK):
        _install(PACKAGES, report)
        _link_kernel_modules(report)
        if xstate.is_needed():
            _install(xstate.PACKAGES, report)
            xstate.build(CACHE)
    if not TUN_DEVICE.exists():
        raise LabError(
            f"There is no {TUN_DEVICE}: load the module `tun`, or give the container that device."
        )


def ensure_kubernetes(report: Callable[[str], None]) -> None:
    """Install what is missing for a cluster, or raise LabError where that fails."""
    ensure(report)
    with _alone(LOCK):
        _install(KUBERNETES_PACKAGES, report)


def ensure_kubevirt(report: Callable[[str], None]) -> None:
    """Install what is missing for a cluster with KubeVirt, or raise LabError where that fails."""
    ensure_kubernetes(report)
    with _alone(LOCK):
        _install(KUBEVIRT_PACKAGES, report)
    ensure_guest(report)


def ensure_guest(report: Callable[[str], None]) -> None:
    """Fetch and unpack what a guest needs, unless it is there; raise LabError if that fails.

    It may run while a lab comes up, outside the lab's network.
    """
    with _alone(GUEST_LOCK):
        if GUEST_FILES.exists():
            return
        report("fetching QEMU, a kernel and busybox for the guest (about 50 MB)")
        unpacking = GUEST_FILES.with_suffix(".new")
        shutil.rmtree(unpacking, ignore_errors=True)  # a killed one left it
        _unpack_guest(unpacking)
        unpacking.rename(GUEST_FILES)
        report("what the guest needs is unpacked")


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep the other labs of this machine out: apt-get does not wait for another one."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _install(packages: Iterable[str], report: Callable[[str], None]) -> None:
    missing = [package for package in packages if not _is_installed(package)]
    if not missing:
        return
    report(f"installing {' '.join(missing)}")
    _apt_get("update")
    _apt_get("install", "--yes", "--no-install-recommends", *missing)


def _apt_get(*arguments: str, quiet: bool = False) -> None:
    if not shutil.which("apt-get"):
        wanted = " ".join(arguments)
        raise LabError(f"There is no apt-get here for `{wanted}`: the lab needs Debian 12.")
    command = ["apt-get", "--option", f"DPkg::Lock::Timeout={APT_PATIENCE}", *arguments]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, env=environment, check=False, capture_output=quiet)
    if done.returncode != 0:
        raise LabError(f"`{' '.join(command)}` failed: run it by hand to see why.")


def _unpack_guest(files: Path) -> None:
    """Unpack the guest's packages, and the libraries that the builder has not installed."""
    archives = files / "archives"
    (archives / "partial").mkdir(parents=True)
    _apt_get("update", quiet=True)
    _apt_get(
        "install", "--yes", "--no-install-recommends", "--download-only", "--reinstall",
        "--option", "APT::Sandbox::User=root",  # its own user may not write there
        "--option", f"Dir::Cache::archives={archives}", *GUEST_PACKAGES, _guest_kernel_package(),
        quiet=True,
    )  # fmt: skip
    for archive in archives.glob("*.deb"):
        subprocess.run(["dpkg-deb", "--extract", str(archive), str(files)], check=True)
    (modules,) = (files / "lib" / "modules").iterdir()
    subprocess.run(["depmod", "--basedir", str(files), modules.name], check=True)
    shutil.rmtree(archives)


def _guest_kernel_package() -> str:
    command = ["apt-cache", "depends", "--important", GUEST_KERNEL]
    shown = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    found = re.search(r"Depends: (linux-image-\S+)", shown)
    if not found:
        raise LabError(f"`{' '.join(command)}` names no kernel: check the sources of apt.")
    return found[1]


def _is_installed(package: str) -> bool:
    # The list of its files is there from unpacking to removal; asking dpkg takes 20 times longer.
    lists = Path("/var/lib/dpkg/info")
    return any((lists / f"{name}.list").exists() for name in (package, f"{package}:amd64"))


def _link_kernel_modules(report: Callable[[str], None]) -> None:
    """Put the lab kernel's modules where modprobe, inside the hosts, looks for them."""
    versions = sorted(KERNEL_MODULES.iterdir())
    if not versions:
        raise LabError(f"{KERNEL_MODULES} is empty: reinstall the package user-mode-linux.")
    for source in versions:
        link = SYSTEM_MODULES / source.name
        if not link.exists():
            report(f"linking {link} to {source}")
            SYSTEM_MODULES.mkdir(parents=True, exist_ok=True)
            link.symlink_to(source)
        if not (link / "modules.dep.bin").exists():
            report(f"indexing the modules of kernel {source.name}")
            subprocess.run(["depmod", source.name], check=True)


if __name__ == "__main__":
    ensure(print)
    ensure_guest(print)
