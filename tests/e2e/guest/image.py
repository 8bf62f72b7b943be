"""What the guest boots: Debian's cloud kernel, and an initial RAM disk that is all it has."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.e2e.guest.errors import GuestError
from tests.e2e.lab.prerequisites import GUEST_FILES

INIT = Path(__file__).with_name("init.sh")
MODULES = ("virtio_pci", "virtio_scsi", "sd_mod", "virtio_blk")
IDENTIFIER = Path("/lib/udev/scsi_id")
"""With it udev of Debian names disks in /dev/disk/by-id; the lab's hosts have the same udev."""


def kernel() -> Path:
    """The guest's kernel. GuestError if the packages are not unpacked."""
    for path in (GUEST_FILES / "boot").glob("vmlinuz-*"):
        return path
    raise GuestError(f"{GUEST_FILES} has no kernel: run `python -m tests.e2e.lab.prerequisites`.")


def initial_ram_disk() -> bytes:
    """A cpio archive with busybox, scsi_id, the modules for hot-plugged disks, and init."""
    busybox = GUEST_FILES / "bin" / "busybox"
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        modules = _modules()
        for path, directory in [(busybox, "bin"), *((path, "modules") for path in modules)]:
            (root / directory).mkdir(exist_ok=True)
            shutil.copy(path, root / directory)
        for path in (IDENTIFIER, *_libraries(IDENTIFIER)):
            place = root / path.relative_to("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place)
        (root / "modules" / "order").write_text("".join(f"{path.name}\n" for path in modules))
        shutil.copy(INIT, root / "init")
        (root / "init").chmod(0o755)
        files = "".join(f"{path.relative_to(root)}\n" for path in sorted(root.rglob("*")))
        return _run(str(busybox), "cpio", "-o", "-H", "newc", cwd=root, stdin=files.encode())


def _libraries(program: Path) -> list[Path]:
    """The loader and what it loads for a program, where the program looks for them."""
    shown = _run("ldd", str(program)).decode().split()
    return [Path(word) for word in shown if word.startswith("/")]


def _modules() -> list[Path]:
    """The files of MODULES and of what they need, in the order in which they can be loaded."""
    version = kernel().name.removeprefix("vmlinuz-")
    options = ("--show-depends", "--all", "--dirname", str(GUEST_FILES), "--set-version", version)
    shown = _run("modprobe", *options, *MODULES).decode()
    paths = [line.split()[1] for line in shown.splitlines() if line.startswith("insmod ")]
    return [Path(path) for path in dict.fromkeys(paths)]


def _run(*argv: str, cwd: Path | None = None, stdin: bytes = b"") -> bytes:
    command = subprocess.run(
        argv, cwd=cwd, input=stdin, check=True, timeout=60, capture_output=True
    )
    return command.stdout
