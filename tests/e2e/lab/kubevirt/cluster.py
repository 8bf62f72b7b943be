"""A lab whose Kubernetes has KubeVirt beside the driver."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.e2e.lab import prerequisites
from tests.e2e.lab.host import Host
from tests.e2e.lab.kubernetes import builds, disks
from tests.e2e.lab.kubernetes import images as kubernetes_images
from tests.e2e.lab.kubernetes.cluster import Cluster
from tests.e2e.lab.kubevirt import bootable, images, nodes, objects, release
from tests.e2e.lab.kubevirt.control_plane import ExtensibleControlPlane
from tests.e2e.lab.lab import Progress
from tests.e2e.lab.topology import Kind


class KubeVirtCluster(Cluster):
    """Virtual machines run on its compute hosts but the last, by emulation.

    That one has KubeVirt's own pods, and the driver's controller and operator. It is not with the
    storage, so that a test can take that away; and no guest is there, as a host has one processor,
    which an emulated guest takes all of.
    """

    memory_mib: Mapping[Kind, int] = {"storage": 1280, "compute": 3072}
    values: Mapping[str, Any] = {
        "control": {"nodeSelector": {objects.CONTROL_PLANE: ""}},
        "controller": {"replicas": 1},
    }

    def _new_control_plane(self) -> ExtensibleControlPlane:
        return ExtensibleControlPlane(self.daemons, self.network)

    def _ensure_disk(self, *, suite: bool, report: Callable[[str], None]) -> Path:
        prerequisites.ensure_kubevirt(report)
        builds.ensure(report)
        builds.ensure_kubevirt(report)
        made = kubernetes_images.ensure(report, suite=suite)
        *others, product = [image.archive for image in made]
        lasting = [*others, images.ensure(report)]
        # The large ones are unpacked once, and not again with each change of the driver.
        disks.ensure(lasting, report)
        return disks.ensure([*lasting, bootable.ensure(), product], report)

    def _before_boot(self, hosts: list[Host]) -> None:
        super()._before_boot(hosts)
        for host in hosts:
            nodes.adapt(host)

    def _when_ready(self, hosts: list[Host], progress: Progress) -> None:
        super()._when_ready(hosts, progress)
        release.finish(self, progress)

    def _install(self, hosts: list[Host], progress: Progress) -> None:
        release.set_apart(self, _last_compute(hosts))
        # Not at once: that host would be so busy that helm gives up.
        super()._install(hosts, progress)
        progress("installing KubeVirt")
        release.begin(self)


def _last_compute(hosts: list[Host]) -> str:
    return max(
        (host.identity.number, host.name) for host in hosts if host.identity.kind == "compute"
    )[1]
