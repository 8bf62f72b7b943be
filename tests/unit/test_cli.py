"""The command line: what may be left out, and what is refused; and how the process ends."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from csi_lvm_iscsi.cli import _parser

NODE = ["node", "--endpoint", "unix:///x", "--node-id", "n", "--chap-keys", "/k"]
STORAGE = [
    "storage", "--node-id", "s", "--listen", ":1", "--tls-dir", "/t", "--chap-keys", "/k",
    "--portal-network", "10.77.0.0/24", "--thin-pool", "vg0/pool",
]  # fmt: skip


def test_a_node_without_a_zone() -> None:
    assert _parser().parse_args(NODE).zone == ""
    assert _parser().parse_args([*NODE, "--zone", "a"]).zone == "a"


def test_the_thresholds_of_thin_pools() -> None:
    given = _parser().parse_args(STORAGE)
    assert (given.stop_at, given.extend_at, given.extend_by) == (90, 70, 20)


@pytest.mark.parametrize(
    ("given", "host", "listen"),
    [
        ("10.77.0.11:9740", "10.77.0.11", "10.77.0.11:9740"),
        ("fd77::11:9740", "fd77::11", "[fd77::11]:9740"),  # as $(HOST_IP):9740 becomes
        ("[fd77::11]:9740", "fd77::11", "[fd77::11]:9740"),
        (":9740", "", ":9740"),
    ],
)
def test_addresses_of_both_families(given: str, host: str, listen: str) -> None:
    found = _parser().parse_args([*STORAGE, "--metrics", given, "--listen", given])
    assert found.metrics == (host, 9740)
    assert found.listen == listen


@pytest.mark.parametrize(
    "arguments",
    [
        [*NODE, "--zone", "a zone"],
        [*STORAGE, "--stop-at", "101"],
        [*STORAGE, "--extend-by", "0"],
        [*STORAGE, "--thin-pool", "vg0"],
        ["adopt", "volume-1"],
        [*STORAGE, "--metrics", "localhost"],
    ],
)
def test_what_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _parser().parse_args(arguments)
    assert "error: argument" in capsys.readouterr().err


HANGS = """
import asyncio, sys, threading
from csi_lvm_iscsi import cli
cli._THREADS_SECONDS = 0.2

async def start(arguments, registry):
    asyncio.get_running_loop().run_in_executor(None, threading.Event().wait)

cli.adopt._start = start
sys.argv[1:] = ["adopt", "vg0/lv"]
cli.main()
"""


def test_a_role_ends_though_a_thread_hangs() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", HANGS], timeout=30, check=False, capture_output=True, text=True
    )
    assert ended.returncode == 1
    assert ended.stderr == "csi-lvm-iscsi: a thread hangs: ended all the same\n"


WAITS = """
import asyncio, sys
from csi_lvm_iscsi import cli

async def start(arguments, registry):
    print("starting", flush=True)
    await asyncio.Event().wait()

cli.adopt._start = start
sys.argv[1:] = ["adopt", "vg0/lv"]
cli.main()
"""


def child_of(pid: int) -> int:
    """Of a process with one child. A fresh Debian has no pgrep."""
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


def test_a_role_that_is_starting_ends_by_sigterm_as_process_1() -> None:
    """Of a PID namespace, in which the kernel ignores signals that it has no handler for."""
    enter = ("unshare", "--pid", "--fork", "--kill-child")
    if subprocess.run([*enter, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine does not let us make a PID namespace")
    with subprocess.Popen(
        [*enter, sys.executable, "-c", WAITS], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as started:
        # Else a role that does not end, or never starts, would be waited for without end.
        patience = threading.Timer(60, started.kill)
        patience.start()
        try:
            assert started.stdout is not None
            assert started.stdout.readline() == b"starting\n"
            os.kill(child_of(started.pid), signal.SIGTERM)
            _, said = started.communicate(timeout=30)
        finally:
            patience.cancel()
            started.kill()
    assert said == b"csi-lvm-iscsi adopt: told to end before it was ready\n"
