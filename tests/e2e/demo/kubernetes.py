"""The driver as a user of Kubernetes meets it, told as it happens in a lab of four nodes.

Installs and builds what the lab needs (Debian, as root; the first run builds Kubernetes from
source), brings it up in /var/tmp/csi-lvm-iscsi-demo-kubernetes, and takes it down at the end, also
after an error or Ctrl-C. The exit status is 0 if all was as told.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.e2e.demo.cluster import Told, shown_coming_up
from tests.e2e.demo.performance import keep_option, perform
from tests.e2e.demo.screen import Screen
from tests.e2e.kubernetes.hosts import logical_volumes
from tests.e2e.kubernetes.manifests import DATA, claim, deployment
from tests.e2e.kubernetes.user import until
from tests.e2e.lab.kubernetes.cluster import Cluster

DIRECTORY = Path("/var/tmp/csi-lvm-iscsi-demo-kubernetes")
# What `kubectl get` shows by itself is wider than the screen.
CLAIM_COLUMNS = "NAME:.metadata.name,STATUS:.status.phase,VOLUME:.spec.volumeName"
VOLUME_COLUMNS = (
    "NAME:.metadata.name,CAPACITY:.spec.capacity.storage,STATUS:.status.phase,"
    "CLAIM:.spec.claimRef.name"
)
ATTACHMENT_COLUMNS = "PV:.spec.source.persistentVolumeName,NODE:.spec.nodeName,OK:.status.attached"
SENTENCE = "what was written before the move"
WHERE_NEXT = """
Where to go next:
   docs/install.md       the driver in a cluster of yours
   make demo-kubevirt    volumes in a virtual machine of KubeVirt
   make test-kubernetes  this and much more, as tests
   .venv/bin/python -m tests.e2e.demo.kubernetes --keep   this again, with the lab left up
"""


def main() -> int:
    """Tell the story; the exit status."""
    keep = keep_option("python -m tests.e2e.demo.kubernetes", __doc__)

    def show(screen: Screen) -> None:
        _announce(screen)
        cluster = Cluster(DIRECTORY)
        with shown_coming_up(
            cluster, screen, lambda new: new.up_cluster(report=screen.progress), keep=keep
        ):
            Story(cluster, screen).tell()

    return perform(DIRECTORY, show, WHERE_NEXT)


def _announce(screen: Screen) -> None:
    screen.chapter("A Kubernetes cluster comes up, and the driver is installed")
    screen.say(
        "Two nodes that have disks and two that have none, each a Linux kernel of its own "
        "(user-mode Linux, an ordinary process) with containerd and kubelet. The driver's "
        "image is built from its Dockerfile, and helm installs its chart. What the first run "
        "builds is kept; later ones come up in about 100 s."
    )
    screen.line()


class Story(Told):
    """What a user does with kubectl, and what there is on the hosts of it."""

    def tell(self) -> None:
        self._storage()
        first = self._claim_and_pod()
        self._move(first)
        self._delete()

    def _storage(self) -> None:
        self.screen.chapter("The storage, as Kubernetes shows it")
        self.screen.say("Every node with the label of a storage host has an object of its own.")
        # kubectl does not wait where there is none yet.
        until(lambda: self.user.get("storagenodes")["items"], lambda: "no StorageNode")
        self.kubectl("wait", "--for=condition=Ready", "storagenodes", "--all", "--timeout=60s")
        self.kubectl("get", "storagenodes")
        self.kubectl("get", "storageclasses")
        self.kubectl("get", "pods", "--namespace=csi-lvm-iscsi")

    def _claim_and_pod(self) -> str:
        """The node that the pod runs on."""
        self.screen.chapter("A claim, and a pod that uses it")
        self.apply("claim-and-deployment", claim("data"), deployment("app", "data"))
        self.kubectl("wait", "--for=jsonpath={.status.phase}=Bound", "pvc/data", "--timeout=60s")
        self.kubectl("rollout", "status", "deployment/app", "--timeout=120s")
        pod, node = self._pod()
        self.shell(pod, f"echo {SENTENCE} >{DATA}/file; sync; df -h {DATA}")
        self.kubectl("get", "pvc", "--output=custom-columns=" + CLAIM_COLUMNS)
        self.kubectl("get", "pv", "--output=custom-columns=" + VOLUME_COLUMNS)
        self.kubectl("get", "volumeattachments", "--output=custom-columns=" + ATTACHMENT_COLUMNS)
        ((volume, storage),) = logical_volumes(self.cluster).items()
        self.screen.say("On the storage host the volume is a logical volume and an iSCSI target.")
        self.host(storage, f"lvs --noheadings -o lv_name,lv_size,pool_lv,lv_tags vg0/{volume}")
        self.host(storage, "ls /var/lib/csi-lvm-iscsi/grants")
        self.screen.say("The node is logged in to it.")
        sessions = self.host(node, "cat /sys/class/iscsi_session/*/targetname")
        self.check(any(volume in line for line in sessions), f"{node} has a session to {volume}")
        return node

    def _move(self, first: str) -> None:
        self.screen.chapter("The pod moves to another node, and its data with it")
        self.kubectl(
            "drain", first, "--ignore-daemonsets", "--delete-emptydir-data", "--force",
            "--pod-selector=app=app",
        )  # fmt: skip
        self.kubectl("rollout", "status", "deployment/app", "--timeout=120s")
        pod, node = self._pod()
        self.check(node != first, f"the pod runs on {node} now")
        read = self.shell(pod, f"cat {DATA}/file")
        self.check(read == [SENTENCE], "the data is what was written before")
        self.kubectl("get", "volumeattachments", "--output=custom-columns=" + ATTACHMENT_COLUMNS)
        self.host(first, "ls /sys/class/iscsi_session")
        self.kubectl("uncordon", first)

    def _delete(self) -> None:
        self.screen.chapter("The claim is deleted, and nothing is left")
        self.kubectl("delete", "deployment/app", "pvc/data")
        self.check_nothing_is_left()
        self.kubectl("get", "storagenodes")

    def _pod(self) -> tuple[str, str]:
        """The name of the pod, and its node."""
        pod = self.user.pod_of("app")
        return pod["metadata"]["name"], pod["spec"]["nodeName"]


if __name__ == "__main__":
    sys.exit(main())
