"""What is mounted where: read from mountinfo, changed by mount(8) and umount(8).

State is never taken from what the commands say.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from csi_lvm_iscsi.commands.runner import CommandFailed, Runner, Where
from csi_lvm_iscsi.initiator.devices import Device
from csi_lvm_iscsi.model.errors import FailedPrecondition

_SECONDS = 60.0
_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of mountinfo (proc_pid_mountinfo(5))."""

    number: str
    """major:minor of the device of the file system."""

    root: str
    """Which part of the file system is mounted: / or, of a bind mount, a file or folder."""

    target: Path
    read_only: bool
    """Of this mount; the file system may be writable elsewhere."""

    file_system: str

    file_system_read_only: bool
    """Of the file system: it was mounted so, or an error made it so."""


class Mounts:
    """The mounts of our mount namespace."""

    def __init__(self, runner: Runner, mountinfo: Path) -> None:
        self._runner = runner
        self._mountinfo = mountinfo

    def all(self) -> tuple[Mount, ...]:
        """All mounts, in the order in which they were made."""
        return tuple(_parse(line) for line in self._mountinfo.read_text().splitlines())

    def at(self, target: Path) -> Mount | None:
        """The topmost mount on a path."""
        return next((mount for mount in reversed(self.all()) if mount.target == target), None)

    def of(self, device: Device) -> tuple[Mount, ...]:
        """The mounts of a disk's file system and of its device node."""
        return tuple(mount for mount in self.all() if shows(mount, device))

    def of_dead(self, name: str, number: str) -> tuple[Mount, ...]:
        """The mounts that are left of a disk that is gone."""
        return tuple(
            mount
            for mount in self.all()
            if mount.number == number
            # So the kernel shows a node that was removed (fs/d_path.c).
            or (mount.file_system == "devtmpfs" and mount.root == f"/{name}//deleted")
        )

    async def mount(self, *arguments: str, seconds: float = _SECONDS) -> None:
        """Mount, with the arguments that mount takes. Raises FailedPrecondition where it fails."""
        # For options that are for user space only, such as _netdev, libmount keeps a table in /run,
        # which a container cannot write: mount(8) would then exit with 16, with it mounted.
        command = ("mount", "--no-mtab", *arguments)
        try:
            await self._runner.run(*command, where=Where.HERE, seconds=seconds)
        except CommandFailed as error:
            raise FailedPrecondition(
                f"{error}. The kernel's log (dmesg) tells more; correct that, then call again."
            ) from error

    async def unmount(self, target: Path) -> None:
        """Unmount all that is mounted on a path, the last first.

        Raises FailedPrecondition where it is busy. Writes out what is cached first, so it takes as
        long as that.
        """
        while (mounted := self.at(target)) is not None:
            try:
                await self._runner.run("umount", str(target), where=Where.HERE, seconds=_SECONDS)
            except CommandFailed as error:
                # Another call may have been faster; then there is one mount less.
                if self.at(target) == mounted:
                    raise FailedPrecondition(
                        f"{target} cannot be unmounted: {error}. End what uses it "
                        f"(see `fuser -vm {target}`), then call again."
                    ) from error

    async def detach(self, mounts: Sequence[Mount]) -> None:
        """Take mounts away although something still uses them (umount --lazy): their disk is
        gone, and what uses them gets errors anyhow."""
        for mount in reversed(mounts):
            if self.at(mount.target) is not None:
                await self._runner.run(
                    "umount", "--lazy", str(mount.target), where=Where.HERE, seconds=_SECONDS
                )


def shows(mount: Mount, device: Device) -> bool:
    """Whether this is a mount of the disk's file system, or of its node (raw block)."""
    if mount.file_system == "devtmpfs":
        return mount.root == f"/{device.name}"
    return mount.number == device.number


def _parse(line: str) -> Mount:
    fields = line.split(" ")
    # Optional fields stand before the hyphen.
    file_system, _, options = fields[fields.index("-", 6) + 1 :]
    return Mount(
        number=fields[2],
        root=_unescape(fields[3]),
        target=Path(_unescape(fields[4])),
        read_only="ro" in fields[5].split(","),
        file_system=file_system,
        # The second is ext4's since Linux 6.15 (fs/ext4/super.c, _ext4_show_options).
        file_system_read_only=not {"ro", "emergency_ro"}.isdisjoint(options.split(",")),
    )


def _unescape(text: str) -> str:
    """Blanks, tabs, newlines and backslashes are octal in mountinfo."""
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)
