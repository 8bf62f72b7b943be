"""A whole lab: its hosts, its network and its files."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.e2e.lab import pki, prerequisites
from tests.e2e.lab.daemons import Daemons
from tests.e2e.lab.errors import LabError
from tests.e2e.lab.host import BOOT_TIMEOUT, Host
from tests.e2e.lab.machine import Machine
from tests.e2e.lab.network import Network
from tests.e2e.lab.services import CHECKOUT, Content
from tests.e2e.lab.topology import MAX_HOSTS, STORAGE_API_PORT, HostName, Kind

DEFAULT_DIRECTORY = Path("/var/tmp/csi-lvm-iscsi-lab")


def default_directory() -> Path:
    """$LAB_DIR, or else one place for all who do not care."""
    return Path(os.environ.get("LAB_DIR") or DEFAULT_DIRECTORY)


class Lab:
    """The lab whose state is in `directory`, running or not."""

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = (directory or default_directory()).resolve()
        _check_path(self.directory)
        self.id = hashlib.sha256(os.fsencode(self.directory)).hexdigest()[:10]
        self.network = Network(f"csi-lab-{self.id}")
        self.daemons = Daemons(self.id, self.network, self.directory / "daemons")
        self._hosts_directory = self.directory / "hosts"
        self._keys_directory = self.directory / "pki"
        self._ready_mark = self.directory / "ready"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.down()

    @property
    def hosts(self) -> dict[str, Host]:
        """Its hosts by name: none before `up` or after `down`."""
        names = sorted(HostName.parse(path.name) for path in self._hosts_directory.glob("*-*"))
        return {str(name): self._host(name) for name in names}

    def host(self, name: str) -> Host:
        """One of its hosts; LabError if it has none of that name."""
        hosts = self.hosts
        if name not in hosts:
            known = ", ".join(hosts) or "none: run `up` first"
            raise LabError(f"The lab has no host {name}. Its hosts: {known}.")
        return hosts[name]

    def enter_network(self) -> None:
        """Move this process into the lab's network. To be called before it starts threads."""
        self.network.enter()

    def up(
        self,
        storage: int = 1,
        compute: int = 2,
        *,
        content: Content = "roles",
        memory_mib: Mapping[str, int] | None = None,
        disk: Path | None = None,
        report: Callable[[str], None] = print,
    ) -> None:
        """Make and boot a new lab, and return when everything in it is ready.

        `memory_mib` is for hosts, by name, that are to have another size than is usual; `disk` is
        what their system disks are copies of. What a killed `up` left is removed first; a lab that
        is up is an error. After an error the hosts stay for inspection, until `down` or the next
        `up`.
        """
        names = [*_names("storage", storage), *_names("compute", compute)]
        progress = Progress(report)
        prerequisites.ensure(progress)
        with self._locked():
            if self._ready_mark.exists() and self.network.exists():
                raise LabError(f"The lab in {self.directory} is up already: use it, or run `down`.")
            self._remove(progress)
            progress("creating network, disks and keys")
            self.network.create(names)
            hosts = [self._host(name) for name in names]
            sizes = memory_mib or {}
            _in_parallel(
                lambda host: host.create(content, memory_mib=sizes.get(host.name), disk=disk),
                hosts,
            )
            self._before_boot(hosts)
            progress(f"booting {', '.join(host.name for host in hosts)}")
            for host in hosts:
                host.power_on()
            _in_parallel(lambda host: _wait_for_agent(host, progress), hosts)
            self._after_boot(hosts)
            _in_parallel(lambda host: _wait_ready(host, progress), hosts)
            self._when_ready(hosts, progress)
            self._ready_mark.touch()
            progress("the lab is up")

    def down(self, report: Callable[[str], None] = lambda _: None) -> None:
        """Stop the hosts and remove all that the lab made, also after a killed `up`."""
        with self._locked():
            self._remove(report)
            with contextlib.suppress(OSError):  # the user keeps something of his own there
                self.directory.rmdir()

    def _host(self, name: HostName) -> Host:
        return Host(name, self.id, self._hosts_directory / str(name), self.network)

    def _remove(self, report: Callable[[str], None]) -> None:
        # All hosts' processes at once, also of hosts whose files are gone.
        machines = Machine(f"LAB_ID={self.id}")
        if machines.pid():
            report("stopping the hosts that run")
        machines.kill()
        self.daemons.kill()
        self.network.delete()
        self._ready_mark.unlink(missing_ok=True)
        for directory in (self._hosts_directory, self._keys_directory, self.daemons.directory):
            if directory.exists():
                report(f"removing {directory}")
                shutil.rmtree(directory)

    def _before_boot(self, hosts: list[Host]) -> None:
        """Give the hosts what they have before they boot."""
        self._write_keys(hosts)

    def _after_boot(self, hosts: list[Host]) -> None:
        """Tell what only hosts that have booted can tell."""
        self._write_inventory(hosts)

    def _when_ready(self, hosts: list[Host], progress: Progress) -> None:
        """Do what only a lab can be given whose hosts are ready."""

    def _write_keys(self, hosts: list[Host]) -> None:
        """Give each host the keys of its roles, under its config directory."""
        authority = pki.Authority(self._keys_directory)
        chap_key = pki.new_chap_key()
        for host in hosts:
            pki.write_secret(host.config / "chap-keys" / "k1", chap_key)
            if host.identity.kind == "storage":
                authority.issue_server(host.identity, host.config / "tls")
            if host.identity == HostName("storage", 1):
                authority.issue_client("controller", host.config / "client-tls")

    def _write_inventory(self, hosts: list[Host]) -> None:
        """Tell the controller which hosts there are; it starts when it has the file."""
        storage = [host for host in hosts if host.identity.kind == "storage"]
        inventory = {
            "storageHosts": [
                {
                    "name": host.name,
                    "address": f"{host.identity.data_address}:{STORAGE_API_PORT}",
                    "volumeGroups": [{"name": "vg0", "uuid": _volume_group_uuid(host)}],
                }
                for host in storage
            ],
            "nodes": [host.name for host in hosts if host.identity.kind == "compute"],
        }
        for host in storage:
            if host.identity.number == 1:
                written = host.config / "inventory.json.new"
                written.write_text(json.dumps(inventory, indent=2) + "\n")
                written.rename(host.config / "inventory.json")

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other `up`s and `down`s of this lab out, by a lock on its directory."""
        self.directory.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LabError(
                    f"Another `up` or `down` is at work in {self.directory}: wait for it to end."
                ) from None
            yield
        finally:
            os.close(lock)


class Progress:
    """Reports what happens, with the seconds since the beginning."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._beginning = time.monotonic()

    def __call__(self, text: str) -> None:
        self._report(f"{time.monotonic() - self._beginning:6.1f} s  {text}")


def _names(kind: Kind, count: int) -> list[HostName]:
    if not 0 <= count <= MAX_HOSTS[kind]:
        raise LabError(f"A lab has 0 to {MAX_HOSTS[kind]} {kind} hosts, not {count}.")
    return [HostName(kind, number) for number in range(1, count + 1)]


def _check_path(directory: Path) -> None:
    """Both paths go on a kernel command line, into mount options and into lists of disks."""
    for path in (directory, CHECKOUT):
        if any(character.isspace() or character in ",:" for character in str(path)):
            raise LabError(
                f"The path {path} has a space, comma or colon in it, which the lab's "
                "kernels cannot take: use another directory."
            )


def _in_parallel(action: Callable[[Host], None], hosts: Sequence[Host]) -> None:
    """Do it for all hosts at once; the first error, when all have ended.

    A Ctrl-C cuts the hosts, so that nobody waits for one to boot.
    """
    with ThreadPoolExecutor(max_workers=32) as threads:
        try:
            for _ in threads.map(action, hosts):
                pass
        except KeyboardInterrupt:
            for host in hosts:
                host.cut()
            raise


def _wait_for_agent(host: Host, progress: Progress) -> None:
    host.wait_for_agent()
    progress(f"{host.name} has booted")


def _wait_ready(host: Host, progress: Progress) -> None:
    host.wait_ready(BOOT_TIMEOUT)
    progress(f"{host.name} is ready: {', '.join(service.name for service in host.services)}")


def _volume_group_uuid(host: Host) -> str:
    return host.exec("vgs", "--noheadings", "-o", "vg_uuid", "vg0").check().text
