"""The kubectl plugin with the real kubectl and API server: their words, lists, watches, rights."""

import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from csi_lvm_iscsi.kubectl import plugin
from tests.chart import cluster
from tests.chart.charts import binary

_NAMESPACE = "plugged"
_ATTACH = ("attach", "data", "--vm", "c2")


@dataclass(frozen=True)
class Desk:
    """A workstation with the plugin, kubectl and a kubeconfig."""

    api: cluster.Cluster
    bin: Path

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["kubectl", "lvmiscsi", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment(),
        )

    def run(self, *words: str, expect: int = 0) -> tuple[str, str]:
        with self.start(*words) as process:
            out, err = process.communicate(timeout=60)
        assert process.returncode == expect, (out, err)
        return out, err

    def environment(self) -> dict[str, str]:
        path = f"{self.bin}:{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "KUBECONFIG": str(self.api.kubeconfig)}

    def kubectl(self, *words: str, stdin: str = "") -> str:
        return self.api.kubectl(f"--namespace={_NAMESPACE}", *words, stdin=stdin)

    def says(self, **status: object) -> None:
        """Write a status, as the operator does."""
        patch = f"--patch={json.dumps({'status': status})}"
        self.kubectl(
            "patch", plugin.HOTPLUGS, "c2-data", "--subresource=status", "--type=merge", patch
        )


@pytest.fixture(scope="module")
def desk(installed: cluster.Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    directory = tmp_path_factory.mktemp("desk")
    (directory / "kubectl").symlink_to(str(binary("kubectl")))
    source = Path(plugin.__file__).read_text()
    for name in ("kubectl-lvmiscsi", "kubectl_complete-lvmiscsi"):
        program = directory / name
        program.write_text(source.replace("#!/usr/bin/env python3", f"#!{sys.executable} -I"))
        program.chmod(stat.S_IRWXU)
    installed.kubectl("create", "namespace", _NAMESPACE)
    yield Desk(installed, directory)
    installed.kubectl("delete", "namespace", _NAMESPACE, "--wait=false")


@pytest.fixture
def plugged(desk: Desk) -> Iterator[Desk]:
    """With VolumeHotplugs; none before, none afterwards."""
    yield desk
    desk.kubectl("delete", plugin.HOTPLUGS, "--all")


def _heard(process: subprocess.Popen[str], words: str) -> None:
    """Wait until it says that on stderr."""
    assert process.stderr
    heard = ""
    with_end = threading.Timer(60, process.kill)
    with_end.start()
    try:
        while words not in heard:
            line = process.stderr.readline()
            assert line, heard
            heard += line
    finally:
        with_end.cancel()


def _condition(kind: str, message: str, *, is_so: bool = False) -> list[dict[str, str]]:
    time = "2026-11-28T09:00:00Z"
    return [
        {
            "type": kind,
            "status": str(is_so),
            "reason": kind if is_so else "Waiting",
            "message": message,
            "lastTransitionTime": time,
        }
    ]


def test_attach_and_detach(plugged: Desk) -> None:
    with plugged.start("-n", _NAMESPACE, *_ATTACH, "--wait", "--timeout=60") as attaching:
        _heard(attaching, "Pending: the operator of csi-lvm-iscsi has not seen it yet")
        message = "storage-2 is unreachable"
        plugged.says(phase="Attaching", conditions=_condition("Attached", message))
        _heard(attaching, f"Attaching: {message}\n")
        there = _condition("Attached", "The guest has claim data.", is_so=True)
        plugged.says(phase="Attached", node="compute-1", serial="abc", conditions=there)
        out, _ = attaching.communicate(timeout=60)
    assert attaching.returncode == 0
    created, attached = out.splitlines()
    assert created == "VolumeHotplug c2-data created"
    assert attached.endswith(plugin.guest_path("scsi", "abc"))
    out, _ = plugged.run(*_ATTACH, "-n", _NAMESPACE)
    assert out == "VolumeHotplug c2-data is there already\n"
    _, err = plugged.run(*_ATTACH, "-n", _NAMESPACE, "--read-only", expect=1)
    assert "detach it first" in err

    held = '{"metadata": {"finalizers": ["csi-lvm-iscsi.github.io/test"]}}'
    plugged.kubectl("patch", plugin.HOTPLUGS, "c2-data", "--type=merge", f"--patch={held}")
    words = ("detach", "data", "--vm", "c2", "-n", _NAMESPACE, "--force", "--wait", "--timeout=60")
    with plugged.start(*words) as detaching:
        _heard(detaching, "Detaching")
        assert "true" in plugged.kubectl(
            "get", plugin.HOTPLUGS, "c2-data", "--output=jsonpath={.spec.force}"
        )
        _, err = plugged.run(*_ATTACH, "-n", _NAMESPACE, expect=1)
        assert "It is being detached" in err
        free = '{"metadata": {"finalizers": null}}'
        plugged.kubectl("patch", plugin.HOTPLUGS, "c2-data", "--type=merge", f"--patch={free}")
        out, _ = detaching.communicate(timeout=60)
    assert detaching.returncode == 0
    assert out.endswith("data is detached from c2\n")


def test_waiting_is_bounded(plugged: Desk) -> None:
    _, err = plugged.run(*_ATTACH, "-n", _NAMESPACE, "--wait", "--timeout=1", expect=1)
    assert "Not done after 1 s" in err


def test_kinds_that_the_cluster_lacks_are_no_error(desk: Desk) -> None:
    """It has no KubeVirt."""
    out, err = desk.run("attachments", "-n", _NAMESPACE)
    assert (out, err) == ("", "No claims of csi-lvm-iscsi here; -A looks at all namespaces\n")


def test_a_claim_that_is_pending(desk: Desk) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data"},
        "spec": {
            "storageClassName": "csi-lvm-iscsi-thin",
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    desk.kubectl("create", "--filename=-", stdin=yaml.safe_dump(claim))
    out, _ = desk.run("attachments", "data", "-n", _NAMESPACE, "--no-headers")
    assert out.split()[:3] == [_NAMESPACE, "data", "<none>"]
    assert out.split()[-1] == "Pending"
    completed = subprocess.run(
        ["kubectl", "__complete", "lvmiscsi", "attach", "-n", _NAMESPACE, ""],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env=desk.environment(),
    ).stdout
    assert completed.splitlines() == ["data", ":4"]


def test_doctor_of_a_cluster_whose_pods_never_came(desk: Desk) -> None:
    _, err = desk.run("doctor", expect=1)
    assert "This cluster has no csi-lvm-iscsi" in err


def test_a_user_without_rights(desk: Desk, tmp_path: Path) -> None:
    account = desk.api.kubeconfig_of("csi-lvm-iscsi-node", tmp_path)
    for words in (("attachments",), ("attachments", "-A")):
        _, err = desk.run(*words, f"--kubeconfig={account}", expect=1)
        assert 'cannot list resource "persistentvolumeclaims"' in err
    _, err = desk.run(*_ATTACH, f"--kubeconfig={account}", expect=1)
    assert "Ask an administrator of the cluster for that right." in err
