"""The images that the lab's nodes have, as archives that containerd imports.

No registry is asked: the driver's image is built from its Dockerfile, the others from programs.
`python -m tests.e2e.lab.kubernetes.images` makes them, for those who want to see that.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from csi_lvm_iscsi import __version__
from tests.e2e.lab import prerequisites
from tests.e2e.lab.kubernetes import archive, builds, product
from tests.e2e.lab.services import CHECKOUT

PAUSE = "registry.k8s.io/pause:3.10.2"
AGNHOST = "registry.k8s.io/e2e-test-images/agnhost:2.66.1"
# Which Kubernetes' tests of storage take for nothing but a shell, and one for GNU's dd.
NGINX = "registry.k8s.io/e2e-test-images/nginx:1.27.0-2"
GLIBC = "registry.k8s.io/e2e-test-images/glibc-dns-testing:2.1.1"
DD = ("bin/dd", "lib64/ld-linux-x86-64.so.2", "lib/x86_64-linux-gnu/libc.so.6")
BUSYBOX = "registry.k8s.io/e2e-test-images/busybox:1.37.0-2"
PRODUCT = f"ghcr.io/csi-lvm-iscsi/csi-lvm-iscsi:{__version__}"
VALUES = CHECKOUT / "deploy" / "helm" / "csi-lvm-iscsi" / "values.yaml"
DIRECTORY = builds.DIRECTORY / "images"
DEBIANS_BUSYBOX = Path("/bin/busybox")


class Image(NamedTuple):
    """An image, and the archive that it is in, whose name follows from its content."""

    name: str
    archive: Path


def ensure(report: Callable[[str], None], *, suite: bool = False) -> list[Image]:
    """The images of the driver's pods and of the tests' own, made where they are missing.

    `suite`: also those of Kubernetes' own tests. The programs must have been built. The driver's
    own comes last: it changes most often.
    """
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    with builds.alone(builds.DIRECTORY):
        return _ensure(report, suite=suite)


def _ensure(report: Callable[[str], None], *, suite: bool) -> list[Image]:
    sidecars = yaml.safe_load(VALUES.read_text())["sidecars"]
    return [
        _of_program(PAUSE, "pause"),
        _busybox(),
        *(_of_program(_name(sidecar), program) for program, sidecar in _programs(sidecars)),
        *([_agnhost(), _busybox(NGINX), _glibc()] if suite else []),
        Image(PRODUCT, product.ensure(DIRECTORY, PRODUCT, report)),
    ]


def _programs(sidecars: Mapping[str, Any]) -> Iterable[tuple[str, Mapping[str, str]]]:
    images = (each for each in sidecars.values() if "repository" in each)
    return ((sidecar["repository"].rpartition("/")[2], sidecar) for sidecar in images)


def _name(sidecar: Mapping[str, str]) -> str:
    return f"{sidecar['repository']}:{sidecar['tag']}"


def _of_program(name: str, program: str) -> Image:
    return _written(name, {program: builds.BIN / program}, [f"/{program}"])


def _busybox(name: str = BUSYBOX) -> Image:
    """Debian's busybox under a name that Kubernetes' tests have."""
    return _written(name, _tools(), [], user="")


def _agnhost() -> Image:
    files = {"agnhost": builds.BIN / "agnhost", **_tools()}
    return _written(AGNHOST, files, ["/agnhost"], user="")


def _glibc() -> Image:
    # Another shell too: busybox' own takes its own dd before any on the PATH.
    gnu = {"bin/sh": Path("/bin/dash"), **{path: Path("/") / path for path in DD}}
    return _written(GLIBC, {**_tools(), **gnu}, [], user="")


def _tools() -> dict[str, Path | str]:
    listed = subprocess.run(
        [str(DEBIANS_BUSYBOX), "--list"], capture_output=True, text=True, check=True
    )
    links = {f"bin/{applet}": "busybox" for applet in listed.stdout.split()}
    return {
        **links,
        "bin/busybox": DEBIANS_BUSYBOX,
        "tmp/.keep": Path("/dev/null"),
    }


def _written(
    name: str,
    files: Mapping[str, Path | str],
    entrypoint: list[str],
    user: str = archive.NOBODY,
) -> Image:
    digest = hashlib.sha256(repr((name, entrypoint, user, sorted(files))).encode())
    for path in sorted(str(source) for source in files.values() if isinstance(source, Path)):
        status = Path(path).stat()
        digest.update(f"{path} {status.st_size} {status.st_mtime_ns}".encode())
    short = name.rpartition("/")[2].replace(":", "-")
    place = DIRECTORY / f"{short}-{digest.hexdigest()[:12]}.tar"
    if not place.exists():
        unfinished, layer = place.with_suffix(".unfinished"), place.with_suffix(".layer")
        archive.write_layer(layer, files)
        archive.write(unfinished, archive.Image(name, [layer], entrypoint, user))
        layer.unlink()
        unfinished.rename(place)
    return Image(name, place)


if __name__ == "__main__":
    prerequisites.ensure_kubernetes(print)
    builds.ensure(lambda text: print(text, file=sys.stderr))
    for made in ensure(lambda text: print(text, file=sys.stderr)):
        size = made.archive.stat().st_size / 2**20
        print(f"{size:6.0f} MiB  {made.name}  {made.archive}")
