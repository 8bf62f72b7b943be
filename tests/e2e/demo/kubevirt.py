"""A volume attached to a running virtual machine of KubeVirt, told as it happens in a lab.

Installs and builds what the lab needs (Debian, as root; the first run builds Kubernetes and
KubeVirt from source), brings it up in /var/tmp/csi-lvm-iscsi-demo-kubevirt, and takes it down at
the end, also after an error or Ctrl-C. The exit status is 0 if all was as told.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path, PurePath

from tests.e2e.demo.cluster import Told, shown_coming_up
from tests.e2e.demo.performance import keep_option, perform
from tests.e2e.demo.screen import Screen
from tests.e2e.kubernetes.manifests import DEVICE, claim, pod
from tests.e2e.kubevirt.machine import PATIENCE, VirtualMachine
from tests.e2e.kubevirt.manifests import virtual_machine
from tests.e2e.kubevirt.workstation import lvmiscsi
from tests.e2e.lab.kubevirt.cluster import KubeVirtCluster

DIRECTORY = Path("/var/tmp/csi-lvm-iscsi-demo-kubevirt")
MACHINES_NODE, PODS_NODE = "compute-1", "compute-2"
BLOCK = 4096
GREETING = "Greetings from a pod"
ANSWER = "Greetings from c2"
GROWN = "96Mi"
WHERE_NEXT = """
Where to go next:
   docs/hotplug.md     VolumeHotplug objects
   docs/kubectl.md     kubectl lvmiscsi
   make test-kubevirt  this and more, as tests
   .venv/bin/python -m tests.e2e.demo.kubevirt --keep   this again, with the lab left up
"""


def main() -> int:
    """Tell the story; the exit status."""
    keep = keep_option("python -m tests.e2e.demo.kubevirt", __doc__)

    def show(screen: Screen) -> None:
        _announce(screen)
        cluster = KubeVirtCluster(DIRECTORY)
        with shown_coming_up(
            cluster,
            screen,
            lambda new: new.up_cluster(storage=1, report=screen.progress),
            keep=keep,
        ):
            Story(cluster, screen).tell()

    return perform(DIRECTORY, show, WHERE_NEXT)


def _announce(screen: Screen) -> None:
    screen.chapter("A cluster comes up, with the driver and with KubeVirt")
    screen.say(
        "A node that has disks and two that have none, each a Linux kernel of its own (user-mode "
        "Linux, an ordinary process) with containerd and kubelet. helm installs the driver; "
        "KubeVirt's own operator installs KubeVirt. What the first run builds is kept; later "
        "ones come up in 5 to 8 minutes."
    )
    screen.line()


class Story(Told):
    """What a user does with kubectl, and what the virtual machine says of it."""

    def __init__(self, cluster: KubeVirtCluster, screen: Screen) -> None:
        super().__init__(cluster, screen)
        self._c2 = VirtualMachine(self.user, "c2")

    def tell(self) -> None:
        self._machine_and_claim()
        self._attach()
        self._grow()
        self._detach()
        self._delete()

    def _machine_and_claim(self) -> None:
        self.screen.chapter("A virtual machine starts, and a pod writes to a volume")
        self.screen.say(
            "c2 is a Linux that has no disk and no network, only a serial port, on which it says "
            "what it sees and does. It starts by emulation, which takes a while."
        )
        self.apply("c2", virtual_machine("c2", node=MACHINES_NODE))
        writer = pod("writer", "data", node=PODS_NODE, block=True)
        self.apply("claim-and-pod", claim("data", block=True), writer)
        self.kubectl("wait", "--for=condition=Ready", "pod/writer", "--timeout=120s")
        self.shell("writer", f"echo {GREETING} >{DEVICE}; head -n 1 {DEVICE}")
        self.kubectl("delete", "pod/writer")
        self.kubectl("wait", "--for=condition=Ready", "vm/c2", "--timeout=600s")
        self._c2.await_up()
        self._quote(self._c2.words())

    def _attach(self) -> None:
        self.screen.chapter("The volume is attached to the virtual machine that runs")
        said = self._lvmiscsi("attach", "data", "--vm", "c2", "--wait", f"--timeout={PATIENCE}")
        heard = self._hear("block 1 ")
        self.check(f"sda begins with: {GREETING}" in heard, "the guest reads what the pod wrote")
        serial = self.user.get("vhp/c2-data")["status"]["serial"]
        self._c2.order("identify sda")
        (identified,) = self._hear("sda is ")
        path = PurePath(f"/dev/disk/by-id/{identified.removeprefix('sda is ')}")
        self.check(str(path) in said, "it is the disk that kubectl named")
        self.check(path.name.endswith(serial), "and its serial number that of the VolumeHotplug")
        self.kubectl("get", "volumehotplugs")
        self._lvmiscsi("attachments")
        self._c2.order(f"write sda 2 {ANSWER}")
        self._hear("block 2 ")

    def _grow(self) -> None:
        self.screen.chapter("The volume grows while the virtual machine has it")
        patch = json.dumps({"spec": {"resources": {"requests": {"storage": GROWN}}}})
        self.kubectl("patch", "pvc/data", f"--patch={patch}")
        heard = self._hear("the end, by the guest")
        self.check("sda grew: 96 MiB" in heard, "the guest sees it, and writes at its new end")

    def _detach(self) -> None:
        self.screen.chapter(
            "It is detached, and a pod on the other node reads what the guest wrote"
        )
        self._lvmiscsi("detach", "data", "--vm", "c2", "--wait", f"--timeout={PATIENCE}")
        self._hear("is gone")
        self.apply("pod", pod("reader", "data", node=PODS_NODE, block=True))
        self.kubectl("wait", "--for=condition=Ready", "pod/reader", "--timeout=120s")
        block = f"dd if={DEVICE} bs={BLOCK} skip=2 count=1 2>/dev/null | head -n 1"
        (read,) = self.shell("reader", block)
        self.check(read.rstrip() == ANSWER, "the pod reads what the guest wrote")

    def _delete(self) -> None:
        self.screen.chapter("All is deleted, and nothing is left")
        self.kubectl("delete", "vm/c2", "pod/reader", "pvc/data")
        self.check_nothing_is_left()

    def _lvmiscsi(self, *words: str) -> str:
        said = lvmiscsi(self.user, *words)
        self.screen.evidence("you", f"kubectl lvmiscsi {' '.join(words)}", said.splitlines())
        return said

    def _hear(self, text: str) -> list[str]:
        """What the guest says up to a line with this in it, shown."""
        heard = self._c2.hear(text)
        self._quote(heard)
        return heard

    def _quote(self, lines: list[str]) -> None:
        for line in lines:
            self.screen.quote("c2", line)


if __name__ == "__main__":
    sys.exit(main())
