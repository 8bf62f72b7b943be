"""The driver as a user of Kubernetes meets it, told as it happens in a lab of four nodes.

Installs and builds what the lab needs (Debian, as root; the first run builds Kubernetes from
source), brings it up in /var/tmp/csi-lvm-iscsi-demo-kubernetes, and takes it down at the end, also
after an error or Ctrl-C. The exit status is 0 if all was as told.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.e2e.demo.performance import keep_option, perform
from tests.e2e.demo.scene import Mismatch
from tests.e2e.demo.screen import Screen
from tests.e2e.kubernetes.hosts import left_of_volumes, logical_volumes
from tests.e2e.kubernetes.manifests import DATA, claim, deployment, listed
from tests.e2e.kubernetes.user import User, until
from tests.e2e.lab.kubernetes.cluster import Cluster

DIRECTORY = Path("/var/tmp/csi-lvm-iscsi-demo-kubernetes")
LAB_COMMAND = f".venv/bin/python -m tests.e2e.lab --dir {DIRECTORY}"
# What `kubectl get` shows by itself is wider than the screen.
CLAIM_COLUMNS = "NAME:.metadata.name,STATUS:.status.phase,VOLUME:.spec.volumeName"
ATTACHMENT_COLUMNS = "PV:.spec.source.persistentVolumeName,NODE:.spec.nodeName,OK:.status.attached"
SENTENCE = "what was written before the move"
LOOK_AROUND = f"""
The lab stays up. To look around:
   {LAB_COMMAND} kubectl get storagenodes,nodes
   {LAB_COMMAND} kubectl -n csi-lvm-iscsi get pods
   {LAB_COMMAND} exec storage-1 -- lvs
   {LAB_COMMAND} down
"""
WHERE_NEXT = """
Where to go next:
   docs/install.md       the driver in a cluster of yours
   make test-kubernetes  this and much more, as tests
   .venv/bin/python -m tests.e2e.demo.kubernetes --keep   this again, with the lab left up
"""


def main() -> int:
    """Tell the story; the exit status."""
    keep = keep_option("python -m tests.e2e.demo.kubernetes", __doc__)

    def show(screen: Screen) -> None:
        with _cluster(screen, keep=keep) as cluster:
            Story(cluster, screen).tell()

    return perform(DIRECTORY, show, WHERE_NEXT)


@contextlib.contextmanager
def _cluster(screen: Screen, *, keep: bool) -> Iterator[Cluster]:
    """The cluster, up; it goes down again unless it is to be kept."""
    cluster = Cluster(DIRECTORY)
    screen.chapter("A Kubernetes cluster comes up, and the driver is installed")
    screen.say(
        "Two nodes that have disks and two that have none, each a Linux kernel of its own "
        "(user-mode Linux, an ordinary process) with containerd and kubelet. The driver's "
        "image is built from its Dockerfile, and helm installs its chart. What the first run "
        "builds is kept; later ones come up in about 100 s."
    )
    screen.line()
    if cluster.hosts or cluster.network.exists():
        screen.progress("an earlier demo left its lab: it is removed first")
        cluster.down(screen.progress)
    try:
        cluster.up_cluster(report=screen.progress)
        yield cluster
    finally:
        if keep:
            screen.line(LOOK_AROUND)
        else:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # impatience must leave nothing behind
            try:
                screen.say("The lab goes down.")
            finally:  # also where nobody reads any more
                cluster.down()


class Story:
    """What a user does with kubectl, and what there is on the hosts of it."""

    def __init__(self, cluster: Cluster, screen: Screen) -> None:
        self._cluster = cluster
        self._screen = screen
        self._user = User(cluster, "default")

    def tell(self) -> None:
        self._storage()
        first = self._claim_and_pod()
        self._move(first)
        self._delete()

    def _storage(self) -> None:
        self._screen.chapter("The storage, as Kubernetes shows it")
        self._screen.say("Every node with the label of a storage host has an object of its own.")
        self._kubectl("wait", "--for=condition=Ready", "storagenodes", "--all", "--timeout=60s")
        self._kubectl("get", "storagenodes")
        self._kubectl("get", "storageclasses")
        self._kubectl("get", "pods", "--namespace=csi-lvm-iscsi")

    def _claim_and_pod(self) -> str:
        """The node that the pod runs on."""
        self._screen.chapter("A claim, and a pod that uses it")
        self._apply("claim-and-deployment", claim("data"), deployment("app", "data"))
        self._kubectl("wait", "--for=jsonpath={.status.phase}=Bound", "pvc/data", "--timeout=60s")
        self._kubectl("rollout", "status", "deployment/app", "--timeout=120s")
        pod, node = self._pod()
        self._shell(pod, f"echo {SENTENCE} >{DATA}/file; sync; df -h {DATA}")
        self._kubectl("get", "pvc", "--output=custom-columns=" + CLAIM_COLUMNS)
        self._kubectl("get", "volumeattachments", "--output=custom-columns=" + ATTACHMENT_COLUMNS)
        ((volume, storage),) = logical_volumes(self._cluster).items()
        self._screen.say("On the storage host the volume is a logical volume and an iSCSI target.")
        self._host(storage, f"lvs --noheadings -o lv_name,lv_size,pool_lv,lv_tags vg0/{volume}")
        self._host(storage, "ls /var/lib/csi-lvm-iscsi/grants")
        self._screen.say("The node is logged in to it.")
        sessions = self._host(node, "cat /sys/class/iscsi_session/*/targetname")
        self._check(any(volume in line for line in sessions), f"{node} has a session to {volume}")
        return node

    def _move(self, first: str) -> None:
        self._screen.chapter("The pod moves to another node, and its data with it")
        self._kubectl(
            "drain", first, "--ignore-daemonsets", "--delete-emptydir-data", "--force",
            "--pod-selector=app=app",
        )  # fmt: skip
        self._kubectl("rollout", "status", "deployment/app", "--timeout=120s")
        pod, node = self._pod()
        self._check(node != first, f"the pod runs on {node} now")
        read = self._shell(pod, f"cat {DATA}/file")
        self._check(read == [SENTENCE], "the data is what was written before")
        self._kubectl("get", "volumeattachments", "--output=custom-columns=" + ATTACHMENT_COLUMNS)
        self._host(first, "ls /sys/class/iscsi_session")
        self._kubectl("uncordon", first)

    def _delete(self) -> None:
        self._screen.chapter("The claim is deleted, and nothing is left")
        self._kubectl("delete", "deployment/app", "pvc/data")
        until(lambda: not left_of_volumes(self._cluster), self._left)
        self._check(not left_of_volumes(self._cluster), "no host has anything of the volume")
        self._kubectl("get", "storagenodes")

    def _left(self) -> str:
        return f"left: {left_of_volumes(self._cluster)}"

    def _pod(self) -> tuple[str, str]:
        """The name of the pod, and its node."""
        pod = self._user.pod_of("app")
        return pod["metadata"]["name"], pod["spec"]["nodeName"]

    def _apply(self, name: str, *objects: dict[str, object]) -> None:
        said = self._user.kubectl("apply", "--filename=-", stdin=json.dumps(listed(objects)))
        self._screen.evidence("you", f"kubectl apply -f {name}.yaml", said.splitlines())

    def _kubectl(self, *arguments: str) -> None:
        said = self._user.kubectl(*arguments)
        self._screen.evidence("you", f"kubectl {' '.join(arguments)}", said.splitlines())

    def _shell(self, pod: str, script: str) -> list[str]:
        said = self._user.sh(pod, script).splitlines()
        self._screen.evidence("you", f"kubectl exec {pod} -- sh -c '{script}'", said)
        return said

    def _host(self, host: str, command: str) -> list[str]:
        said = self._cluster.host(host).exec("sh", "-c", command).text.splitlines()
        self._screen.evidence(host, command, said)
        return said

    def _check(self, holds: bool, claim: str) -> None:  # noqa: FBT001 - reads as an assertion
        if not holds:
            raise Mismatch(f"This does not hold: {claim}.")
        self._screen.proved(claim)


if __name__ == "__main__":
    sys.exit(main())
