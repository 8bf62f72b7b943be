"""Who has a block device open."""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path


def openers(device: Path, root: Path = Path("/")) -> Iterator[str]:
    """Who uses a block device, in words: mounts, devices on it, processes, the kernel itself.

    `root`: where the host's /proc and /sys are, with the processes of all namespaces.
    """
    number = device.stat().st_rdev
    shown = f"{os.major(number)}:{os.minor(number)}"
    found = {
        *_holders(root / "sys/dev/block" / shown / "holders"),
        *(user for process in (root / "proc").glob("[0-9]*") for user in _of(process, number)),
    }
    yield from sorted(found)
    if not found and _is_claimed(device):
        yield "the kernel has claimed it, as a target of LIO (`targetcli ls`) or as swap"


def _holders(directory: Path) -> Iterator[str]:
    with contextlib.suppress(OSError):
        yield from (f"device {each.name} is made of it" for each in directory.iterdir())


def _of(process: Path, number: int) -> Iterator[str]:
    """What a process uses of the device; one that ends meanwhile uses nothing."""
    with contextlib.suppress(OSError):
        shown = f"{os.major(number)}:{os.minor(number)}"
        for line in (process / "mountinfo").read_text().splitlines():
            fields = line.split()
            if fields[2] == shown:
                yield f"it is mounted on {fields[4]}"
    with contextlib.suppress(OSError):
        if any(_is(descriptor, number) for descriptor in (process / "fd").iterdir()):
            name = (process / "comm").read_text().strip()
            yield f"process {process.name} ({name}) has it open"


def _is(descriptor: Path, number: int) -> bool:
    try:
        opened = descriptor.stat()
    except OSError:
        return False
    return stat.S_ISBLK(opened.st_mode) and opened.st_rdev == number


def _is_claimed(device: Path) -> bool:
    """Whether the kernel refuses it to another exclusive user (open(2), O_EXCL)."""
    try:
        os.close(os.open(device, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC))
    except OSError as error:
        if error.errno == errno.EBUSY:
            return True
        raise
    return False
