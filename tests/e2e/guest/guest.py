"""One guest, as an object."""

from __future__ import annotations

import os
import re
import time
from types import TracebackType
from typing import Any, Self

from tests.e2e.guest import image
from tests.e2e.guest.errors import GuestError
from tests.e2e.guest.qmp import Qmp
from tests.e2e.lab.host import MEMORY_MIB as HOST_MEMORY
from tests.e2e.lab.host import Host
from tests.e2e.lab.prerequisites import GUEST_FILES
from tests.e2e.lab.remote import Command

HOST_MEMORY_MIB = HOST_MEMORY["compute"] + 256
"""What a compute host needs to have a guest in it: QEMU takes about 220 MiB."""

MEMORY_MIB = 128
TRANSLATED_CODE_MIB = 64

BOOT_TIMEOUT = 120.0
HEAR_TIMEOUT = 120.0
POLL_INTERVAL = 0.1

INITIAL_RAM_DISK = "/run/guest.initrd"
LOG = "guest"
"""The lab's log of what the guest says on its serial port."""
LOG_TAIL = 2000

SAID = re.compile(r"guest: (.*)")
SERIAL_DIGITS = 20
"""So much of a serial number every kind of QEMU's disks can show to a guest; virtio-blk no more."""


class Guest:
    """A Linux guest in a compute host, started and stopped with its context.

    Its processor is emulated (TCG), as the lab's kernels have no KVM. It dies with this process.
    """

    def __init__(self, host: Host, *, writes: int = 1) -> None:
        """`writes` is the number of blocks that it writes to each new disk, one at a time, behind
        the first one."""
        self._host = host
        self._writes = writes
        self._heard = 0
        self._qemu: Command | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Switch it on, without waiting until it is up. Its packages must be there
        (`prerequisites.ensure_guest`)."""
        self._host.write(INITIAL_RAM_DISK, image.initial_ram_disk())
        self._host.log_path(LOG).unlink(missing_ok=True)
        input_, commands = os.pipe()
        self._commands = os.fdopen(commands, "wb")
        self._qmp = Qmp(self._commands)
        self._qemu = self._host.start(
            *_environment(),
            *_qemu(self._writes),
            stdin=os.fdopen(input_, "rb", buffering=0),  # each command is to go at once
            stdout=self._qmp.received,
        )

    def wait_up(self) -> list[str]:
        """Wait until it runs; what it said meanwhile."""
        said = self.hear("up: ", BOOT_TIMEOUT)
        self._ask("qmp_capabilities")
        return said

    def stop(self) -> None:
        """Switch it off, if it is on."""
        if self._qemu:
            self._qemu.kill()
            self._qemu = None
            self._commands.close()

    # Its disks

    def plug(self, path: str, serial: str) -> None:
        """Hot-plug the host's block device at `path`, with the first SERIAL_DIGITS of `serial`."""
        disk = _disk(serial)
        file = {"driver": "host_device", "filename": path}
        cache = {"direct": True}
        self._ask("blockdev-add", driver="raw", node_name=disk, cache=cache, file=file)
        self._ask(
            "device_add", driver="scsi-hd", id=disk, drive=disk, serial=serial[:SERIAL_DIGITS]
        )

    def resize(self, serial: str, size: int) -> None:
        """Have QEMU tell the guest that its disk, which has grown, has `size` bytes."""
        self._ask("block_resize", node_name=_disk(serial), size=size)

    def unplug(self, serial: str) -> list[str]:
        """Unplug a disk, until QEMU and the guest have let go of it; what the guest said."""
        disk = _disk(serial)
        self._ask("device_del", id=disk)
        self._qmp.wait_for_event("DEVICE_DELETED", lambda data: data.get("device") == disk)
        # QEMU does not wait for the guest: a SCSI disk is gone, and then the guest is told.
        said = self.hear("is gone")
        self._ask("blockdev-del", node_name=disk)
        return said

    def _ask(self, command: str, **arguments: object) -> Any:  # noqa: ANN401 - as Qmp.execute
        named = {name.replace("_", "-"): value for name, value in arguments.items()}
        try:
            return self._qmp.execute(command, named)
        except (GuestError, OSError) as error:
            raise GuestError(f"{error} {self._state()}") from error

    # Its words

    def hear(self, text: str, timeout: float = HEAR_TIMEOUT) -> list[str]:
        """What it says from where it was last heard up to a line with `text` in it.

        GuestError if that line does not come within `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while True:
            lines = words(self.log)[self._heard :]
            for number, line in enumerate(lines, start=1):
                if text in line:
                    self._heard += number
                    return lines[:number]
            if time.monotonic() > deadline:
                trouble = f"did not say {text!r} in {timeout:g} s"
            elif self._ended_within(POLL_INTERVAL):
                trouble = f"ended before it said {text!r}"
            else:
                continue
            raise GuestError(f"The guest on {self._host.name} {trouble}. {self._state()}")

    @property
    def log(self) -> str:
        """All that came from its serial port, also from its kernel."""
        return self._host.log(LOG) if LOG in self._host.logs() else ""

    def _ended_within(self, seconds: float) -> bool:
        if self._qemu is None:
            return True
        try:
            self._qemu.wait(seconds)
        except TimeoutError:
            return False
        return True

    def _state(self) -> str:
        """What helps to understand a failure."""
        state = f"The end of its serial log:\n{self.log[-LOG_TAIL:]}"
        if self._qemu and self._ended_within(0):
            ended = self._qemu.wait()
            complaint = ended.stderr.decode(errors="replace").strip()
            state = f"QEMU ended with status {ended.status}: {complaint}\n{state}"
        return state


def words(log: str) -> list[str]:
    """The lines in which the guest's init spoke, without those of firmware and kernel.

    A line that has not ended yet is left out.
    """
    *lines, _ = log.split("\n")
    found = (SAID.search(line.rstrip("\r")) for line in lines)
    return [match[1] for match in found if match]


def _disk(serial: str) -> str:
    """QEMU's name for a disk, which it knows at most 31 characters of."""
    return f"disk-{serial[:SERIAL_DIGITS]}"


def _environment() -> tuple[str, ...]:
    """Run a program of the unpacked packages, with their libraries."""
    libraries = ":".join(f"{GUEST_FILES}/{each}/x86_64-linux-gnu" for each in ("lib", "usr/lib"))
    return ("env", f"LD_LIBRARY_PATH={libraries}")


def _qemu(writes: int) -> tuple[str, ...]:
    return (
        f"{GUEST_FILES}/usr/bin/qemu-system-x86_64",
        "-machine", "q35", "-cpu", "max",
        "-accel", f"tcg,tb-size={TRANSLATED_CODE_MIB}",
        "-m", str(MEMORY_MIB), "-nodefaults", "-display", "none",
        "-kernel", str(image.kernel()), "-initrd", INITIAL_RAM_DISK,
        "-append", f"console=ttyS0 quiet panic=-1 mitigations=off WRITES={writes}",
        "-serial", f"file:/run/lab/log/{LOG}.log", "-qmp", "stdio",
        "-device", "virtio-scsi-pci",
    )  # fmt: skip
