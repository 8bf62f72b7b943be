"""A lab whose hosts are the nodes of a Kubernetes cluster that has the driver."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.e2e.lab import prerequisites
from tests.e2e.lab.errors import LabError
from tests.e2e.lab.host import Host
from tests.e2e.lab.kubernetes import builds, disks, images, nodes, release
from tests.e2e.lab.kubernetes.control_plane import ControlPlane
from tests.e2e.lab.lab import Lab, Progress
from tests.e2e.lab.topology import Kind

KUBECTL_TIMEOUT = 180.0


class Cluster(Lab):
    """Labels, CRDs, the chart: what an administrator would do is done with kubectl and helm."""

    memory_mib: Mapping[Kind, int] = {"storage": 1280, "compute": 1280}
    values: Mapping[str, Any] = {}
    """What its chart has otherwise than that of other labs."""

    def __init__(self, directory: Path | None = None) -> None:
        super().__init__(directory)
        self.control_plane = self._new_control_plane()
        self.installs_driver = True

    def up_cluster(
        self,
        storage: int = 2,
        compute: int = 2,
        *,
        suite: bool = False,
        report: Callable[[str], None] = print,
    ) -> None:
        """Build what is missing, boot, and return when the driver's pods are ready.

        `suite`: with what Kubernetes' own tests need.
        """
        disk = self._ensure_disk(suite=suite, report=report)
        counts: dict[Kind, int] = {"storage": storage, "compute": compute}
        memory = {
            f"{kind}-{number}": self.memory_mib[kind]
            for kind, count in counts.items()
            for number in range(1, count + 1)
        }
        self.up(storage, compute, content="kubelet", memory_mib=memory, disk=disk, report=report)

    def _ensure_disk(self, *, suite: bool, report: Callable[[str], None]) -> Path:
        """Make all that the hosts have before they boot; the disk with the images of their pods."""
        prerequisites.ensure_kubernetes(report)
        builds.ensure(report, [*builds.PROGRAMS, *(builds.SUITE if suite else [])])
        *lasting, product = [image.archive for image in images.ensure(report, suite=suite)]
        # The others are unpacked once, and not again with each change of the driver.
        disks.ensure(lasting, report)
        return disks.ensure([*lasting, product], report)

    def _new_control_plane(self) -> ControlPlane:
        return ControlPlane(self.daemons, self.network)

    def kubectl(
        self, *arguments: str, stdin: str = "", timeout: float = KUBECTL_TIMEOUT
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl as the cluster's administrator."""
        return self.run("kubectl", *arguments, stdin=stdin, timeout=timeout)

    def run(
        self, program: str, *arguments: str, stdin: str = "", timeout: float = KUBECTL_TIMEOUT
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl or helm in the lab's network, as the cluster's administrator. LabError if it
        takes longer than `timeout` seconds."""
        command = self.command(program, *arguments)
        try:
            return subprocess.run(
                command, input=stdin, capture_output=True, text=True, check=False, timeout=timeout
            )
        except subprocess.TimeoutExpired:
            said = f"`{program} {' '.join(arguments)}` did not end within {timeout:g} s."
            raise LabError(said) from None

    def command(self, program: str, *arguments: str) -> list[str]:
        """The command line of `run`."""
        kubeconfig = f"--kubeconfig={self.control_plane.kubeconfig()}"
        return self.network.command(str(builds.BIN / program), kubeconfig, *arguments)

    def insist(
        self, program: str, *arguments: str, stdin: str = "", timeout: float = KUBECTL_TIMEOUT
    ) -> str:
        """What it prints; LabError if it fails."""
        done = self.run(program, *arguments, stdin=stdin, timeout=timeout)
        if done.returncode != 0:
            said = f"{done.stdout}{done.stderr}".strip()
            raise LabError(f"`{program} {' '.join(arguments)}` failed: {said}")
        return done.stdout

    def fetch(self, url: str) -> str:
        """What a web server in the lab's network answers."""
        script = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode())"
        command = self.network.command(sys.executable, "-c", script, url)
        return subprocess.run(
            command, check=True, timeout=KUBECTL_TIMEOUT, capture_output=True, text=True
        ).stdout

    def _before_boot(self, hosts: list[Host]) -> None:
        self.daemons.directory.mkdir(parents=True)
        self.network.add_cluster([host.identity for host in hosts])
        self.control_plane.create([host.name for host in hosts])
        for host in hosts:
            kubeconfig = self.control_plane.kubeconfig(f"system:node:{host.name}")
            nodes.furnish(host, kubeconfig.read_text())
        self.control_plane.start()

    def _after_boot(self, hosts: list[Host]) -> None:
        """The driver's keys and its knowledge of hosts are made in the cluster."""

    def _when_ready(self, hosts: list[Host], progress: Progress) -> None:
        self.control_plane.wait_ready()
        progress("the control plane is ready")
        self._await_nodes(hosts)
        progress("all nodes are ready")
        self._install(hosts, progress)

    def _install(self, hosts: list[Host], progress: Progress) -> None:
        if self.installs_driver:
            release.install(self, hosts, progress)

    def _await_nodes(self, hosts: Sequence[Host]) -> None:
        names = [f"node/{host.name}" for host in hosts]
        # One at a time: of several that are not there it waits for the first alone.
        for name in names:
            self.insist("kubectl", "wait", "--for=create", "--timeout=120s", name)
        self.insist("kubectl", "wait", "--for=condition=Ready", "--timeout=120s", *names)
