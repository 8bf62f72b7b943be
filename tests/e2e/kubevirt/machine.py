"""A virtual machine: what its user does with it, and what its guest says."""

from __future__ import annotations

import json

from tests.e2e.guest.guest import words
from tests.e2e.kubernetes.user import User, until
from tests.e2e.kubevirt.manifests import migration, virtual_machine
from tests.e2e.lab.errors import LabError

BOOT_PATIENCE = 600
"""Seconds: under emulation in a host that is itself emulated it takes 3 minutes, and more where
others work."""

PATIENCE = 240
SUBRESOURCES = "/apis/subresources.kubevirt.io/v1"
CONSOLE = "/var/run/kubevirt-private/{uid}/virt-serial0"

UNKNOWN = "unknown order: "
"""So the guest answers to an order of which the beginning was lost."""

TELL = f"""
use IO::Socket::UNIX;
my ($path, $order) = @ARGV;
my $console = IO::Socket::UNIX->new(Peer => $path) or die "$path: $!";
alarm 60;
for (1..3) {{
    print $console "\\n$order\\n";
    while (<$console>) {{ last if /guest: /; }}
    exit unless /guest: {UNKNOWN}/;
}}
die "the guest does not understand: $order";
"""
"""For the perl that each Debian has, so also the image with QEMU.

It stays until the guest says something: with the connection, QEMU forgets what the guest has not
yet taken from its port. On a busy machine the first characters after connecting are lost at times,
mostly one, so that is an empty line; 8 were seen after a migration.
"""


class VirtualMachine:
    """The virtual machine of that name in a user's namespace."""

    def __init__(self, user: User, name: str) -> None:
        self.user = user
        self.name = name
        self._heard = 0

    def create(self, *, node: str = "") -> None:
        """Make it, without waiting for anything."""
        self.user.apply(virtual_machine(self.name, node=node))

    def await_up(self) -> None:
        """Until it runs, and its guest says so."""
        until(lambda: self.state() == "Running", lambda: f"{self.state()}", BOOT_PATIENCE)
        self.hear("up: ", BOOT_PATIENCE)

    def restart(self) -> None:
        """Switch it off and on again. Its console begins anew."""
        self.user.delete(f"vmi/{self.name}", seconds=PATIENCE)
        self._heard = 0
        self.await_up()

    def migrate(self) -> str:
        """Have it moved to another node as it runs; that node. Its console begins anew there."""
        self.user.apply(migration(f"{self.name}-moves", self.name))
        self.user.wait(
            "jsonpath={.status.phase}=Succeeded",
            f"virtualmachineinstancemigration/{self.name}-moves",
            seconds=BOOT_PATIENCE,
        )
        self._heard = 0
        return str(self.user.get(f"vmi/{self.name}")["status"]["nodeName"])

    def state(self) -> str:
        """The phase of its instance; nothing where there is none."""
        phase = ("--ignore-not-found", "--output=jsonpath={.status.phase}")
        return self.user.kubectl("get", f"vmi/{self.name}", *phase)

    # Its disks

    def plug(self, volume: str, claim: str, *, serial: str, bus: str = "scsi") -> None:
        """Ask for a claim's volume as a disk of the running machine, and after a restart."""
        disk = {"name": volume, "serial": serial, "disk": {"bus": bus}}
        source = {"persistentVolumeClaim": {"claimName": claim, "hotpluggable": True}}
        self._call("addvolume", {"name": volume, "disk": disk, "volumeSource": source})

    def unplug(self, volume: str) -> None:
        """Ask for it to be taken away."""
        self._call("removevolume", {"name": volume})

    def phase(self, volume: str) -> str:
        """What KubeVirt says of a volume; nothing where it does not know it."""
        return self._status_of(volume, "phase")

    def target(self, volume: str) -> str:
        """KubeVirt's name of a disk. Its guest has another, as the disc counts."""
        return self._status_of(volume, "target")

    def _status_of(self, volume: str, field: str) -> str:
        shown = f'--output=jsonpath={{.status.volumeStatus[?(@.name=="{volume}")].{field}}}'
        return self.user.kubectl("get", f"vmi/{self.name}", shown)

    def await_phase(self, volume: str, phase: str) -> None:
        """Until KubeVirt says that of a volume: `Ready`, or nothing when it is unplugged."""
        until(
            lambda: self.phase(volume) == phase,
            lambda: f"{volume} is {self.phase(volume)!r}, not {phase!r}",
            PATIENCE,
        )

    def _call(self, subresource: str, request: dict[str, object]) -> None:
        place = f"namespaces/{self.user.namespace}/virtualmachines/{self.name}/{subresource}"
        command = ("replace", f"--raw={SUBRESOURCES}/{place}", "--filename=-")

        def answered() -> bool:
            try:
                self.user.kubectl(*command, stdin=json.dumps(request))
            except LabError as error:
                # On a busy machine virt-api is at times too slow for the API server to count on it.
                if "ServiceUnavailable" in str(error):
                    return False
                raise
            return True

        until(answered, lambda: f"no answer to {subresource}", PATIENCE)

    # Its guest

    def order(self, text: str) -> None:
        """Tell the guest something on its serial console: an order that its init knows."""
        uid = self.user.get(f"vmi/{self.name}")["metadata"]["uid"]
        command = ("perl", "-e", TELL, CONSOLE.format(uid=uid), text)
        self.user.kubectl("exec", self._launcher(), "--container=compute", "--", *command)

    def hear(self, text: str, seconds: float = PATIENCE) -> list[str]:
        """What the guest says from where it was last heard up to a line with `text` in it."""

        def heard() -> list[str]:
            lines = self.words()[self._heard :]
            ends = (number for number, line in enumerate(lines, start=1) if text in line)
            return lines[: next(ends, 0)]

        lines = until(heard, lambda: f"not said: {text!r}; said: {self.words()}", seconds)
        self._heard += len(lines)
        return lines

    def words(self) -> list[str]:
        """All that the guest has said since it was switched on, but of orders that it did not
        understand, which were given again."""
        return [line for line in words(self.log()) if not line.startswith(UNKNOWN)]

    def log(self) -> str:
        """All that came from its serial console, also from its kernel."""
        return self.user.kubectl("logs", self._launcher(), "--container=guest-console-log")

    def _launcher(self) -> str:
        """The pod that it runs in."""
        labels = f"kubevirt.io=virt-launcher,vm.kubevirt.io/name={self.name}"
        running = "--field-selector=status.phase=Running"
        command = ("get", "pods", f"--selector={labels}", running, "--output=name")
        (pod,) = self.user.kubectl(*command).split()
        return pod
