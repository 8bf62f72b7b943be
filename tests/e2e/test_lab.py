"""The lab as a command: what passes through it, what a killed `up` leaves, what it takes."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.e2e.lab.lab import Lab
from tests.e2e.lab.services import CHECKOUT

MEMORY_KIB = 1536 * 1024


def start(directory: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.e2e.lab", "--dir", str(directory), *arguments]
    return subprocess.Popen(
        command, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def run(directory: Path, *arguments: str) -> tuple[int, str, str]:
    process = start(directory, *arguments)
    stdout, stderr = process.communicate(timeout=120)
    return process.returncode, stdout, stderr


def test_commands_pass_through(lab: Lab) -> None:
    script = "cat; echo out; echo err >&2; exit 7"
    assert run(lab.directory, "exec", "storage-1", "--", "sh", "-c", script) == (
        7,
        "out\n",
        "err\n",
    )


def test_csi_answers_are_json_and_errors_exit_with_1(lab: Lab) -> None:
    status, stdout, _ = run(lab.directory, "csi", "compute-2", "NodeGetInfo", "{}")
    assert (status, json.loads(stdout)["nodeId"]) == (0, "compute-2")
    request = '{"volume_id": "00000000-x", "node_id": "compute-1"}'
    status, stdout, _ = run(lab.directory, "csi", "storage-1", "ControllerPublishVolume", request)
    assert status == 1
    assert json.loads(stdout)["code"] == "INVALID_ARGUMENT"


def test_a_lab_that_is_up_is_not_made_anew(lab: Lab) -> None:
    status, _, stderr = run(lab.directory, "up")
    assert status != 0
    assert "is up already" in stderr


def test_four_hosts_take_less_than_1_5_gib(lab: Lab) -> None:
    assert sum(host.memory_kib for host in lab.hosts.values()) < MEMORY_KIB


def test_a_killed_up_leaves_nothing_that_down_does_not_clean() -> None:
    directory = Path(f"/var/tmp/csi-lvm-iscsi-lab-killed-{os.getpid()}")
    up = start(directory, "up", "--bare", "--storage", "1", "--compute", "1")
    assert up.stdout is not None
    for line in up.stdout:
        if "booting" in line:
            break
    up.kill()
    up.communicate()
    lab = Lab(directory)
    assert lab.hosts
    assert run(directory, "down")[0] == 0
    assert not directory.exists()
    assert lab.network.namespace not in namespaces()
    assert f"LAB_ID={lab.id}" not in processes()


def namespaces() -> str:
    return subprocess.run(
        ["ip", "netns", "list"], check=True, capture_output=True, text=True
    ).stdout


def processes() -> str:
    return subprocess.run(["ps", "-eo", "args"], check=True, capture_output=True, text=True).stdout
