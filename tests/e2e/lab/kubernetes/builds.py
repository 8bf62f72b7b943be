"""The programs of Kubernetes and KubeVirt, built once and kept.

They come from the Go modules that modules/*/go.mod pin.

`python -m tests.e2e.lab.kubernetes.builds` builds them, for those who want to see that.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.e2e.lab import go
from tests.e2e.lab.errors import LabError
from tests.e2e.lab.prerequisites import CACHE

MODULES = Path(__file__).with_name("modules")
SNAPSHOTTER = "github.com/kubernetes-csi/external-snapshotter"


class Program(NamedTuple):
    """What is built of which module, as `go build` names it."""

    module: str
    package: str
    version_of: str = ""
    """The module whose version it tells as its own; Kubernetes' tell theirs otherwise."""


def _of_kubernetes(name: str) -> Program:
    return Program("kubernetes", f"k8s.io/kubernetes/cmd/{name}", "k8s.io/kubernetes")


def _sidecar(name: str, module: str, directory: str = "kubernetes") -> Program:
    return Program(directory, f"{module}/cmd/{name}", module)


_CSI = "github.com/kubernetes-csi"
PROGRAMS = {
    "etcd": Program("etcd", "go.etcd.io/etcd/server/v3"),
    "helm": Program("helm", "helm.sh/helm/v4/cmd/helm"),
    **{
        name: _of_kubernetes(name)
        for name in (
            "kube-apiserver",
            "kube-controller-manager",
            "kube-scheduler",
            "kubectl",
            "kubelet",
        )
    },
    "csi-attacher": _sidecar("csi-attacher", f"{_CSI}/external-attacher/v4"),
    "csi-resizer": _sidecar("csi-resizer", f"{_CSI}/external-resizer/v2"),
    "csi-snapshotter": _sidecar("csi-snapshotter", f"{SNAPSHOTTER}/v8"),
    "snapshot-controller": _sidecar("snapshot-controller", f"{SNAPSHOTTER}/v8"),
    # It does not compile against the libraries of Kubernetes 1.37.
    "csi-provisioner": _sidecar(
        "csi-provisioner", f"{_CSI}/external-provisioner/v6", "provisioner"
    ),
    "pause": Program("pause", "."),
}
SUITE = {
    "e2e.test": Program("kubernetes", "k8s.io/kubernetes/test/e2e", "k8s.io/kubernetes"),
    "agnhost": Program("kubernetes", "k8s.io/kubernetes/test/images/agnhost"),
}
"""What only Kubernetes' own tests need."""

_KUBEVIRT = "kubevirt.io/kubevirt"
KUBEVIRT = {
    **{
        name: Program("kubevirt", f"{_KUBEVIRT}/cmd/{name}", _KUBEVIRT)
        for name in (
            "virt-operator",
            "virt-api",
            "virt-controller",
            "virt-handler",
            "virt-launcher",
            "virt-launcher-monitor",
            "virt-chroot",
            "virt-freezer",
            "virt-probe",
            "virt-tail",
        )
    },
    "resource-generator": Program("kubevirt", f"{_KUBEVIRT}/tools/resource-generator"),
}
"""What a lab needs besides that has KubeVirt."""


def _pins(*, kubevirt: bool) -> str:
    """A name for all that the modules pin: what is built at other versions lives elsewhere."""
    digest = hashlib.sha256()
    for path in sorted(path for path in MODULES.rglob("*") if path.is_file()):
        if (path.parent.name == "kubevirt") == kubevirt:
            digest.update(path.read_bytes())
    return digest.hexdigest()[:10]


DIRECTORY = CACHE / "kubernetes"
BIN = DIRECTORY / f"bin-{_pins(kubevirt=False)}"
KUBEVIRT_BIN = CACHE / "kubevirt" / f"bin-{_pins(kubevirt=True)}"
SNAPSHOT_CRDS = BIN / "snapshot-crd"


def version(module: str, directory: str = "kubernetes") -> str:
    """The version of a Go module that is pinned there, as `v1.37.2`."""
    pinned = (MODULES / directory / "go.mod").read_text()
    match = re.search(rf"^(?:require )?\s*{re.escape(module)} (v\S+)", pinned, re.MULTILINE)
    if not match:
        raise LabError(f"{MODULES / directory / 'go.mod'} requires no {module}.")
    return match[1]


@contextlib.contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Nobody else makes what is kept there: two labs that come up at once want the same."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def ensure(report: Callable[[str], None], names: Sequence[str] = tuple(PROGRAMS)) -> None:
    """Build those of Kubernetes that are missing. LabError where that fails."""
    with alone(DIRECTORY):
        cost = "on two cores some 20 minutes for all, 5 GB of Go's caches"
        _build_missing(BIN, names, f"Kubernetes: {cost}", report)
        if "snapshot-controller" in names:
            go.made(SNAPSHOT_CRDS, _copy_snapshot_crds)


def ensure_kubevirt(report: Callable[[str], None]) -> None:
    """Build those of KubeVirt that are missing. LabError where that fails."""
    with alone(KUBEVIRT_BIN.parent):
        cost = "on two cores some 6 minutes, 3 GB of Go's caches"
        _build_missing(KUBEVIRT_BIN, [*KUBEVIRT], f"KubeVirt: {cost}", report)


def source(module: str, directory: str = "kubernetes") -> Path:
    """The source of a Go module that is pinned there, in Go's cache."""
    command = [str(go.tool(DIRECTORY)), "list", "-mod=readonly", "-m", "-f={{.Dir}}", module]
    found = subprocess.run(
        command, cwd=MODULES / directory, stdout=subprocess.PIPE, text=True, check=True
    )
    return Path(found.stdout.strip())


def _build_missing(
    place: Path, names: Sequence[str], of_what: str, report: Callable[[str], None]
) -> None:
    place.mkdir(parents=True, exist_ok=True)
    missing = [name for name in names if not (place / name).exists()]
    if missing:
        report(f"building {len(missing)} programs from source, once, of {of_what}")
    for number, name in enumerate(missing, 1):
        begun = time.monotonic()
        report(f"building {name} ({number} of {len(missing)})")
        go.made(place / name, functools.partial(_build, name))
        report(f"built {name} in {time.monotonic() - begun:.0f} s")


def _build(name: str, place: Path) -> None:
    program = {**PROGRAMS, **SUITE, **KUBEVIRT}[name]
    flags = ("-mod=readonly", "-trimpath", "-buildvcs=false", f"-ldflags=-s -w {_linked(program)}")
    # Without its vet: that would take all dependencies' time again.
    command = ("test", "-c", "-vet=off") if name == "e2e.test" else ("build",)
    go.run(
        go.tool(DIRECTORY),
        *(*command, *flags, "-o", str(place), program.package),
        # virt-launcher links libvirt; if the others did not use C too, all would compile twice.
        settings={
            "CGO_ENABLED": "1" if program.module == "kubevirt" else "0",
            "GOFLAGS": "",
            "GOWORK": "off",
        },
        directory=MODULES / program.module,
    )


def _linked(program: Program) -> str:
    """What the linker writes into a program for it to tell its version."""
    if not program.version_of:
        return ""
    tells = version(program.version_of, program.module)
    if program.version_of == _KUBEVIRT:
        return f"-X kubevirt.io/client-go/version.gitVersion={tells}"
    if program.version_of != "k8s.io/kubernetes":
        return f"-X main.version={tells}"
    major, minor, _ = tells.removeprefix("v").split(".")
    values = {"gitVersion": tells, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    places = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return " ".join(
        f"-X {place}.{key}={value}" for place in places for key, value in values.items()
    )


def _copy_snapshot_crds(place: Path) -> None:
    shutil.copytree(source(f"{SNAPSHOTTER}/client/v8") / "config" / "crd", place)


if __name__ == "__main__":
    ensure(print, sys.argv[1:] or [*PROGRAMS])
