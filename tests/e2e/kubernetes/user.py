"""A user of the cluster with a namespace: what he does with kubectl."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, TypeVar

from tests.e2e.kubernetes.manifests import Object, listed
from tests.e2e.lab.kubernetes.cluster import KUBECTL_TIMEOUT, Cluster

T = TypeVar("T")
PATIENCE = 120
"""Seconds for what takes Kubernetes some seconds on an idle machine."""

POLL_INTERVAL = 0.3


class User:
    """Commands in one namespace. Each fails with what kubectl said."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace

    def kubectl(self, *arguments: str, stdin: str = "", waits: float = 0) -> str:
        """What kubectl prints. `waits`: for so many seconds it may wait for something itself."""
        arguments = (f"--namespace={self.namespace}", *arguments)
        timeout = KUBECTL_TIMEOUT + waits
        return self.cluster.insist("kubectl", *arguments, stdin=stdin, timeout=timeout)

    def apply(self, *objects: Object) -> None:
        self.kubectl("apply", "--filename=-", stdin=json.dumps(listed(objects)))

    def get(self, resource: str) -> Object:
        """An object, by KIND/NAME, or a list, by KIND."""
        found: Object = json.loads(self.kubectl("get", resource, "--output=json"))
        return found

    def exists(self, resource: str) -> bool:
        return bool(self.kubectl("get", resource, "--ignore-not-found", "--output=name"))

    def wait(self, condition: str, *resources: str, seconds: float = PATIENCE) -> None:
        """Until all have it: `condition=Ready`, `delete`, `jsonpath={.status.phase}=Bound`."""
        timeout = f"--timeout={seconds:.0f}s"
        self.kubectl("wait", f"--for={condition}", timeout, *resources, waits=seconds)

    def await_pods(self, *names: str, seconds: float = PATIENCE) -> None:
        self.wait("condition=Ready", *(f"pod/{name}" for name in names), seconds=seconds)

    def await_bound(self, *claims: str, seconds: float = PATIENCE) -> None:
        bound = "jsonpath={.status.phase}=Bound"
        self.wait(bound, *(f"pvc/{name}" for name in claims), seconds=seconds)

    def await_detached(self) -> None:
        """Until no node has a volume any more."""
        until(lambda: not self.get("volumeattachments")["items"], lambda: "still attached")

    def await_rollout(self, resource: str) -> None:
        self.kubectl("rollout", "status", resource, f"--timeout={PATIENCE}s", waits=PATIENCE)

    def delete(self, *resources: str, seconds: float = PATIENCE) -> None:
        """Delete, and wait until they are gone."""
        timeout = f"--timeout={seconds:.0f}s"
        self.kubectl("delete", timeout, "--ignore-not-found", *resources, waits=seconds)

    def grow(self, claim: str, size: str) -> None:
        """Ask for a claim's volume to be larger, without waiting for it."""
        patch = json.dumps({"spec": {"resources": {"requests": {"storage": size}}}})
        self.kubectl("patch", f"pvc/{claim}", f"--patch={patch}")

    def sh(self, pod: str, script: str) -> str:
        """What a shell prints in a pod, without the end of its last line."""
        return self.kubectl("exec", pod, "--", "sh", "-c", script).rstrip("\n")

    def pod_of(self, app: str) -> Object:
        """The one pod of a Deployment that is not being deleted."""
        pods = json.loads(self.kubectl("get", "pods", f"--selector=app={app}", "--output=json"))
        (found,) = [each for each in pods["items"] if "deletionTimestamp" not in each["metadata"]]
        return dict(found)

    def messages(self, resource: str, *, warnings: bool = True) -> list[str]:
        """What events say of an object, by KIND/NAME."""
        options = ["--types=Warning"] if warnings else []
        command = ("events", f"--for={resource}", *options, "--output=json")
        text = self.kubectl(*command)
        events: list[dict[str, Any]] = json.loads(text)["items"] if text.startswith("{") else []
        return [event["message"] for event in events]

    def await_message(self, resource: str, part: str, *, warnings: bool = True) -> str:
        """The event that has this in its message."""

        def found() -> str:
            messages = self.messages(resource, warnings=warnings)
            return next((each for each in messages if part in each), "")

        return until(found, lambda: f"{self.messages(resource, warnings=warnings)}")

    def volume_of(self, claim: str) -> Object:
        """The PersistentVolume of a claim that is bound."""
        return self.get(f"pv/{self.get(f'pvc/{claim}')['spec']['volumeName']}")

    def volume_id(self, claim: str) -> str:
        return str(self.volume_of(claim)["spec"]["csi"]["volumeHandle"])


def until(probe: Callable[[], T], otherwise: Callable[[], str], seconds: float = PATIENCE) -> T:
    """The first answer that is true; fails with what `otherwise` says."""
    deadline = time.monotonic() + seconds
    while not (answer := probe()):
        assert time.monotonic() < deadline, otherwise()
        time.sleep(POLL_INTERVAL)
    return answer
