"""What labs share is made by one at a time."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

MAKER = """
import sys
from tests.e2e.lab.kubernetes import builds
with builds.alone(builds.DIRECTORY):
    print("makes", flush=True)
    sys.stdin.read()
"""
PATIENCE_SECONDS = 30


def test_two_labs_do_not_make_the_same_at_once(tmp_path: Path) -> None:
    """The first makes until its standard input ends, and the other begins only then."""
    first = _maker(tmp_path)
    assert first.stdout
    assert first.stdout.readline() == "makes\n"
    second = _maker(tmp_path)
    said: list[str] = []
    listening = threading.Thread(target=lambda: said.extend(second.stdout or ()))
    listening.start()
    _await_waiting_for_lock(second.pid)
    assert said == []
    first.communicate(timeout=PATIENCE_SECONDS)
    assert second.stdin
    second.stdin.close()
    listening.join(PATIENCE_SECONDS)
    assert said == ["makes\n"]
    assert (first.returncode, second.wait(PATIENCE_SECONDS)) == (0, 0)
    assert second.stdout
    second.stdout.close()


def test_all_that_is_kept_is_in_the_cache_that_is_asked_for(tmp_path: Path) -> None:
    """What the guest needs was kept in the usual one."""
    script = (
        "from tests.e2e.lab import prerequisites as p; from tests.e2e.lab.kubernetes import builds;"
        "print(p.GUEST_FILES, builds.BIN, builds.KUBEVIRT_BIN)"
    )
    environment = {**os.environ, "LAB_CACHE": str(tmp_path)}
    said = subprocess.check_output([sys.executable, "-c", script], env=environment, text=True)
    assert all(Path(each).is_relative_to(tmp_path) for each in said.split()), said


def _maker(cache: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", MAKER],
        env={**os.environ, "LAB_CACHE": str(cache)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _await_waiting_for_lock(pid: int) -> None:
    """Until /proc/locks shows that it waits for one (`->`)."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not any(
        "->" in line and str(pid) in line.split()
        for line in Path("/proc/locks").read_text().splitlines()
    ):
        assert time.monotonic() < deadline, "the second waits for no lock"
