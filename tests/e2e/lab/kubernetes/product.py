"""The driver's image, built from its Dockerfile where no registry can be reached.

The base comes from debootstrap instead, under the name that the Dockerfile asks for. How apt and
pip reach their packages is this machine's: mounted while the image is built, and not part of it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from csi_lvm_iscsi import __version__
from tests.e2e.lab.errors import LabError
from tests.e2e.lab.kubernetes import builds
from tests.e2e.lab.services import CHECKOUT

BASE = "docker.io/library/debian:bookworm-slim"
SUITE = "bookworm"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
MOUNTED = Path("/run/builder/ca-certificates.crt")
"""Not where the package ca-certificates would write its own."""
STORAGE = builds.DIRECTORY / "buildah"
TIMEOUT = 1200.0


def ensure(directory: Path, name: str, report: Callable[[str], None]) -> Path:
    """The archive of the image `name` in `directory`, built unless the sources have one there."""
    archive = directory / f"csi-lvm-iscsi-{_digest()}.tar"
    if not archive.exists():
        report("building the driver's image from its Dockerfile")
        _ensure_base(report)
        _build(name)
        unfinished = archive.with_suffix(".unfinished")
        unfinished.unlink(missing_ok=True)
        _buildah("push", "--quiet", name, f"docker-archive:{unfinished}:{name}")
        unfinished.rename(archive)
    return archive


def _digest() -> str:
    """Of all that the Dockerfile takes in."""
    digest = hashlib.sha256()
    for path in _sources():
        digest.update(f"{path.relative_to(CHECKOUT)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _sources() -> Iterator[Path]:
    yield CHECKOUT / "Dockerfile"
    yield CHECKOUT / "requirements-image.lock"
    package = (CHECKOUT / "csi_lvm_iscsi").rglob("*")
    yield from sorted(
        path for path in package if path.is_file() and "__pycache__" not in path.parts
    )


def _ensure_base(report: Callable[[str], None]) -> None:
    if _buildah("images", "--quiet", BASE, fails=True).returncode == 0:
        return
    report(f"making {BASE} with debootstrap")
    with tempfile.TemporaryDirectory(dir=builds.DIRECTORY) as root:
        run("debootstrap", "--variant=minbase", SUITE, root, mirror())
        # What it left of this machine's way to the packages, and of the packages themselves.
        for left in ("etc/apt/sources.list", "etc/hostname", "etc/resolv.conf"):
            (Path(root) / left).unlink(missing_ok=True)
        for kept in ("var/lib/apt/lists", "var/cache/apt/archives"):
            shutil.rmtree(Path(root) / kept)
            (Path(root) / kept / "partial").mkdir(parents=True)
        container = _buildah("from", "scratch").stdout.strip()
        _buildah("add", "--quiet", container, root, "/")
        _buildah("commit", "--quiet", "--rm", container, BASE)


def _build(name: str) -> None:
    with tempfile.TemporaryDirectory(dir=builds.DIRECTORY) as settings:
        pip = Path(settings) / "pip.conf"
        pip.write_text(_pip_settings())
        mounts = ["/etc/apt:/etc/apt", f"{pip}:/etc/pip.conf:ro", f"{CERTIFICATES}:{MOUNTED}:ro"]
        _buildah(
            "bud", "--layers", "--pull=never", "--timestamp=0", f"--tag={name}",
            f"--build-arg=VERSION={__version__}",
            *(f"--volume={mount}" for mount in mounts),
            str(CHECKOUT),
        )  # fmt: skip


def _pip_settings() -> str:
    """This machine's settings of pip, wherever they come from, as a file."""
    listed = run(sys.executable, "-m", "pip", "config", "list").stdout
    settings = {}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        settings[name.rpartition(".")[2]] = value.strip("'")
    # A directory of this machine's is none of the build's.
    settings.pop("find-links", None)
    settings["cert"] = str(MOUNTED)
    return "\n".join(["[global]", *(f"{name} = {value}" for name, value in settings.items()), ""])


def _buildah(*arguments: str, fails: bool = False) -> subprocess.CompletedProcess[str]:
    # Neither a mount nor a namespace is needed: it works in containers, too.
    storage = {"STORAGE_DRIVER": "vfs", "BUILDAH_ISOLATION": "chroot"}
    roots = (f"--root={STORAGE / 'storage'}", f"--runroot={STORAGE / 'run'}")
    return run("buildah", *roots, *arguments, environment=storage, fails=fails)


def mirror() -> str:
    """Where this machine has Debian's packages from."""
    return run("apt-get", "indextargets", "--format", "$(REPO_URI)").stdout.split()[0]


def run(
    *command: str, environment: dict[str, str] | None = None, fails: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end. LabError where it fails, unless it `fails` as is expected."""
    done = subprocess.run(
        command,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT,
    )
    if done.returncode != 0 and not fails:
        raise LabError(f"`{' '.join(command)}` failed:\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    return done
