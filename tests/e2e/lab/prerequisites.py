"""What the builder needs before a lab can run.

`python -m tests.e2e.lab.prerequisites` installs it, for those who want to see that.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.e2e.lab.errors import LabError

PACKAGES = (
    "user-mode-linux", "kmod", "udev", "lvm2", "thin-provisioning-tools", "tgt", "open-iscsi",
    "e2fsprogs", "xfsprogs", "fdisk", "fio", "iproute2", "iputils-ping", "openssl", "procps",
    "util-linux",
)  # fmt: skip

KERNEL_MODULES = Path("/usr/lib/uml/modules")
SYSTEM_MODULES = Path("/lib/modules")
TUN_DEVICE = Path("/dev/net/tun")
LOCK = Path("/var/lock/csi-lvm-iscsi-lab")


def ensure(report: Callable[[str], None]) -> None:
    """Install what is missing, or raise LabError where that needs a person."""
    if os.geteuid() != 0:
        raise LabError("The lab makes network namespaces: run it as root.")
    with _alone():
        _install_packages(report)
        _link_kernel_modules(report)
    if not TUN_DEVICE.exists():
        raise LabError(
            f"There is no {TUN_DEVICE}: load the module `tun`, or give the container that device."
        )


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Keep the other labs of this machine out: apt-get does not wait for another one."""
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _install_packages(report: Callable[[str], None]) -> None:
    missing = [package for package in PACKAGES if not _is_installed(package)]
    if not missing:
        return
    if not shutil.which("apt-get"):
        raise LabError(f"Missing, and there is no apt-get to install them: {' '.join(missing)}.")
    report(f"installing {' '.join(missing)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ["apt-get", "update"],
        ["apt-get", "install", "--yes", "--no-install-recommends", *missing],
    ):
        if subprocess.run(command, env=environment, check=False).returncode != 0:
            raise LabError(f"`{' '.join(command)}` failed: run it by hand to see why.")


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
