"""What user-mode Linux needs on a processor with AMX: `xstate.c` says why."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

PACKAGES = ("gcc", "libc6-dev")
SOURCE = Path(__file__).with_name("xstate.c")


def is_needed() -> bool:
    """Whether this processor has AMX."""
    return "amx_tile" in Path("/proc/cpuinfo").read_text().split()


def build(cache: Path) -> None:
    """Compile it, unless that was done before."""
    library = _library(cache)
    if not library.exists():
        cache.mkdir(parents=True, exist_ok=True)
        unfinished = library.with_suffix(".unfinished")
        command = ["gcc", "-shared", "-fPIC", "-O2", "-o", str(unfinished), str(SOURCE)]
        subprocess.run(command, check=True)
        unfinished.rename(library)


def environment(cache: Path) -> dict[str, str]:
    """What the kernel is to be started with."""
    return {"LD_PRELOAD": str(_library(cache))} if is_needed() else {}


def _library(cache: Path) -> Path:
    return cache / f"xstate-{hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]}.so"
