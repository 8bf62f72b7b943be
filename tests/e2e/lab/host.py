"""One host of the lab, as an object."""

from __future__ import annotations

import contextlib
import io
import os
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

from tests.e2e.lab import containers
from tests.e2e.lab.errors import HostGone, LabError
from tests.e2e.lab.machine import Machine
from tests.e2e.lab.network import Network
from tests.e2e.lab.remote import Command, Result, ask
from tests.e2e.lab.services import CHECKOUT, Content, Service, ServiceState, services
from tests.e2e.lab.topology import (
    AGENT_PORT,
    CSI_SOCKETS,
    DataNetwork,
    HostName,
    Kind,
    mac_address,
)

MEMORY_MIB: dict[Kind, int] = {"storage": 448, "compute": 320}
SYSTEM_DISK_MIB = 256
DATA_DISK_MIB = 4096

BOOT_TIMEOUT = 120.0
AGENT_TIMEOUT = 10.0
EXEC_TIMEOUT = 60.0
POLL_TIMEOUT = 1.0
POLL_INTERVAL = 0.1

MAX_RESTARTS = 4
"""A service that ended so often before it was ready will not become so by waiting."""

LOG_TAIL = 2000
"""Bytes at the end of a log that an error message quotes."""


class Host:
    """A host by its name, running or not. Methods may be called from any thread."""

    def __init__(self, name: HostName, lab_id: str, directory: Path, network: Network) -> None:
        self.name = str(name)
        self.identity = name
        self.directory = directory
        self.config = directory / "config"
        """What the host sees, read-only, as /etc/csi-lvm-iscsi."""
        self._network = network
        self._machine = Machine(f"LAB_ID={lab_id}", f"LAB_HOST={name}")
        self._scripts = directory / "services"

    # What it is made of

    def create(
        self, content: Content, *, memory_mib: int | None = None, disk: Path | None = None
    ) -> None:
        """Make its files: its disks, and the scripts of its services.

        `disk` is a file system that its system disk starts as a copy of; else that is empty.
        """
        for directory in (self.config, self._scripts, self.directory / "log"):
            directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "content").write_text(content)
        for service in services(self.identity, content):
            started = containers.contained(service) if content == "contained" else service
            (self._scripts / service.name).write_text(started.script())
        if disk:
            self._copied_disk.symlink_to(disk)
        else:
            make_system_disk(self.system_disk, SYSTEM_DISK_MIB)
        if self.identity.kind == "storage":
            _make_sparse(self.data_disk, DATA_DISK_MIB)
        self._memory.write_text(str(memory_mib or MEMORY_MIB[self.identity.kind]))

    @property
    def _memory(self) -> Path:
        return self.directory / "memory_mib"

    @property
    def system_disk(self) -> Path:
        """What it starts from, or what it has written since where that is another's copy."""
        return self.directory / "system.img"

    @property
    def _copied_disk(self) -> Path:
        return self.directory / "copied.img"

    @property
    def data_disk(self) -> Path:
        return self.directory / "data.img"

    @property
    def services(self) -> list[Service]:
        """What runs in it, as decided when the lab was made."""
        content = cast("Content", (self.directory / "content").read_text())
        return services(self.identity, content)

    # Power and network

    @property
    def pid(self) -> int | None:
        """Process id of its kernel on the builder; None when it is off."""
        return self._machine.pid()

    @property
    def memory_kib(self) -> int:
        """What it takes of the builder's memory now."""
        return self._machine.memory_kib()

    def power_on(self) -> None:
        """Start its kernel, without waiting for anything."""
        if self.pid:
            raise LabError(f"{self.name} is running already: `cut` it first.")
        # The kernel itself makes what it writes a file of its own, beside a disk that others copy.
        copied = f",{self._copied_disk}" if self._copied_disk.is_symlink() else ""
        disks = [f"ubd0={self.system_disk}{copied}"]
        if self.identity.kind == "storage":
            disks.append(f"ubd1={self.data_disk}")
        self._machine.start(
            self._network.namespace,
            [
                "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", "selinux=0", "quiet",
                f"init={CHECKOUT}/tests/e2e/lab/init.sh", "con=null", "con0=fd:0,fd:1",
                *disks,
                _interface(0, self.identity.data_tap, self.identity.data_address),
                _interface(1, self.identity.management_tap, self.identity.management_address),
                _interface(2, self.identity.data2_tap, self.identity.data2_address),
                f"LAB_DIR={self.directory}", f"LAB_CODE={CHECKOUT}/tests/e2e/lab",
                f"LAB_DATA={self.identity.data_address}",
                f"LAB_DATA6={self.identity.data6_address}",
                f"LAB_DATA2={self.identity.data2_address}",
                f"LAB_MANAGEMENT={self.identity.management_address}",
            ],
            console=self.log_path("console"),
            scratch=self.directory / "uml",
            memory_mib=int(self._memory.read_text()),
        )  # fmt: skip

    def boot(self, timeout: float = BOOT_TIMEOUT) -> None:
        """Start it and wait until all its services are ready."""
        self.power_on()
        self.wait_ready(timeout)

    def cut(self) -> None:
        """Cut its power: whatever its kernel had not sent to its disks is lost."""
        self._machine.kill()

    def shut_down(self, timeout: float = BOOT_TIMEOUT) -> None:
        """Let it end in order: its processes, its file systems, its power."""
        with contextlib.suppress(HostGone, OSError, EOFError):  # it takes its agent with it
            self.exec("python3", f"{CHECKOUT}/tests/e2e/lab/shutdown.py", timeout=timeout)
        deadline = time.monotonic() + timeout
        while self.pid:
            if time.monotonic() > deadline:
                raise LabError(f"{self.name} does not go down: see `logs {self.name}`.")
            time.sleep(POLL_INTERVAL)

    def partition(self, network: DataNetwork = "data") -> None:
        """Take it off a data network. Commands still reach it. Outlasts cut and boot."""
        self._network.partition(self.identity, network)

    def heal(self, network: DataNetwork = "data") -> None:
        """End a partition."""
        self._network.heal(self.identity, network)

    @property
    def partitioned(self) -> bool:
        """Whether it is off the data network that the lab's roles use."""
        return self._network.is_partitioned(self.identity, "data")

    # Commands in it

    def exec(
        self,
        *argv: str,
        input: bytes = b"",  # noqa: A002 - the name that subprocess.run has for it
        timeout: float = EXEC_TIMEOUT,
    ) -> Result:
        """Run a command to its end. On TimeoutError it has been killed."""
        command = self.start(*argv, stdin=io.BytesIO(input))
        try:
            return command.wait(timeout)
        except TimeoutError:
            command.kill()
            raise

    def start(
        self,
        *argv: str,
        stdin: BinaryIO | None = None,
        stdout: Callable[[bytes], object] | None = None,
        stderr: Callable[[bytes], object] | None = None,
    ) -> Command:
        """Start a command to be collected later; it dies with this process."""
        kernel = self.pid
        if kernel is None:
            raise HostGone(f"{self.name} is off: `boot` it first.")
        input_ = stdin or io.BytesIO()
        return Command(self._connect(), kernel, argv, stdin=input_, stdout=stdout, stderr=stderr)

    def read(self, path: str) -> bytes:
        """The content of a small file in the host."""
        return self.exec("cat", path).check().stdout

    def write(self, path: str, content: bytes, mode: int = 0o644) -> None:
        """Write a small file in the host, replacing what was there."""
        self.exec("install", f"--mode={mode:o}", "/dev/stdin", path, input=content).check()

    def csi_address(self, role: str) -> str:
        """Where in the lab's network the CSI socket of `controller` or `node` is reached."""
        return f"{self.identity.management_address}:{CSI_SOCKETS[role].port}"

    def _connect(self, timeout: float = AGENT_TIMEOUT) -> socket.socket:
        address = self.identity.management_address
        try:
            return self._network.connect(address, AGENT_PORT, timeout)
        except OSError as error:
            raise HostGone(
                f"{self.name}'s agent does not answer ({error}): see `logs {self.name}`."
            ) from error

    # Its state

    def service_states(self, timeout: float = AGENT_TIMEOUT) -> dict[str, ServiceState]:
        """The state of each service by name; HostGone if the host is off or does not answer.

        `timeout`, in seconds, is for the connection and for the answer each.
        """
        question = {"services": {service.name: service.endpoint for service in self.services}}
        connection = self._connect(timeout)
        try:
            states = ask(connection, question, timeout)
        except (OSError, EOFError) as error:
            raise HostGone(f"{self.name}'s agent broke off ({error}).") from error
        return {name: ServiceState(**state) for name, state in states.items()}

    def wait_for_agent(self, timeout: float = BOOT_TIMEOUT) -> None:
        """Wait until commands can run in it."""
        self._wait_for("agent", time.monotonic() + timeout)

    def wait_ready(self, timeout: float = BOOT_TIMEOUT) -> None:
        """Wait until every service is ready; LabError with the end of its log if one is not."""
        deadline = time.monotonic() + timeout
        self._wait_for("agent", deadline)
        for service in self.services:
            self._wait_for(service.name, deadline)

    def _wait_for(self, service: str, deadline: float) -> None:
        earlier: int | None = None
        while True:
            state = self._poll(service)
            if state and state.ready:
                return
            if state and earlier is None:
                earlier = state.restarts
            self._check_hope(service, state, earlier or 0, deadline)
            time.sleep(POLL_INTERVAL)

    def _poll(self, service: str) -> ServiceState | None:
        try:
            # A short timeout, as the kernel asks for an absent neighbour ever less often.
            return self.service_states(POLL_TIMEOUT)[service]
        except HostGone:
            return None

    def _check_hope(
        self, service: str, state: ServiceState | None, earlier: int, deadline: float
    ) -> None:
        """Raise LabError if there is no point in waiting for a service any longer."""
        if not self.pid:
            raise LabError(f"{self.name} stopped while booting. {self._end_of_log('console')}")
        if state and state.restarts - earlier >= MAX_RESTARTS:
            trouble = f"ended {state.restarts - earlier} times"
        elif time.monotonic() > deadline:
            trouble = "was not ready in time"
        else:
            return
        raise LabError(f"{self.name}'s {service} {trouble}. {self._end_of_log(service)}")

    # Its logs

    def log_path(self, service: str = "console") -> Path:
        """The log of a service, or of the kernel and its init, on the builder."""
        return self.directory / "log" / f"{service}.log"

    def log(self, service: str = "console") -> str:
        """The text of a log, also of a host that is off."""
        try:
            return self.log_path(service).read_text(errors="replace")
        except FileNotFoundError:
            raise LabError(
                f"{self.name} has no log of {service}; it has {', '.join(self.logs())}."
            ) from None

    def logs(self) -> list[str]:
        """Of what there are logs."""
        return sorted(path.stem for path in (self.directory / "log").glob("*.log"))

    def _end_of_log(self, service: str) -> str:
        name = service if service in self.logs() else "console"
        return f"The end of its {name} log:\n{self.log(name)[-LOG_TAIL:]}"


def _interface(number: int, tap: str, address: str) -> str:
    options = f"transport=tap,ifname={tap},depth=128,gro=1,mac={mac_address(address)}"
    return f"vec{number}:{options}"


def make_system_disk(path: Path, size_mib: int) -> None:
    """An empty file system in a sparse file."""
    _make_sparse(path, size_mib)
    subprocess.run(["mkfs.ext4", "-q", str(path)], check=True, timeout=60)


def _make_sparse(path: Path, size_mib: int) -> None:
    path.touch()
    os.truncate(path, size_mib * 2**20)
