"""The program csi-sanity: built once from its source, and kept where the user's caches are."""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path

from tests.e2e.lab import go
from tests.e2e.lab.errors import LabError

VERSION = "v5.6.0"
"""Of csi-test. Its demands are those of CSI 1.13, as is proto/csi.proto."""

_MODULE = "github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity"


def program() -> Path:
    """csi-sanity. Raises LabError where it has not been built."""
    place = _cache() / f"csi-sanity-{VERSION}"
    if not place.exists():
        # Not built here: tests are inside the lab's network, from where no download succeeds.
        raise LabError("csi-sanity is not there yet: run `python -m tests.e2e.sanity` to build it.")
    return place


def ensure() -> None:
    """Build csi-sanity, unless it is there. Raises LabError where that fails."""
    cache = _cache()
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs of `make test` at once
        go.made(cache / f"csi-sanity-{VERSION}", lambda place: _build(go.tool(cache), place))


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "csi-lvm-iscsi"


def _build(tool: Path, place: Path) -> None:
    print(f"== building {place.name} with {tool}", file=sys.stderr, flush=True)
    settings = {"GOBIN": str(place.parent), "CGO_ENABLED": "0"}
    go.run(tool, "install", "-v", f"{_MODULE}@{VERSION}", settings=settings)
    (place.parent / "csi-sanity").rename(place)
