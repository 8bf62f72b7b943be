"""The bare commands: what an administrator's script does for a volume on one host.

Nothing is checked and nothing tried again. Run in a host as `bare.py STEP NUMBER...`: it does the
step for the volumes of these numbers, all at once, and prints the seconds that took. It takes the
time itself, so that neither the lab nor the start of Python counts against it. Not in bash: in the
lab's kernel a process started by bash's fork takes twice as long as by Python's vfork.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PORTAL = "10.77.0.11:3260"
INITIATOR = "iqn.2026-11.io.github.csi-lvm-iscsi:cloned-host"
PASSWORD = "0123456789abcdef"  # noqa: S105 - of volumes that live for seconds, in the lab
SETTINGS = {
    "node.startup": "manual",
    "node.session.scan": "manual",
    "node.session.timeo.replacement_timeout": "600",
    "node.session.auth.authmethod": "CHAP",
    "node.session.auth.password": PASSWORD,
}
PAUSE = 0.005
DISK_SECONDS = 30.0


def create(number: str) -> None:
    thin = ("--type", "thin", "--thinpool", "vg0/pool", "--virtualsize", "64m")
    _run("lvm", "lvcreate", "--yes", *thin, "--name", _volume(number))


def publish(number: str) -> None:
    account = ("--user", _volume(number))
    device = ("--backing-store", f"/dev/vg0/{_volume(number)}", "--bsoflags", "direct")
    _tgtadm("target", "new", "--tid", number, "--targetname", _target(number))
    _tgtadm("logicalunit", "new", "--tid", number, "--lun", "1", *device)
    _tgtadm("account", "new", *account, "--password", PASSWORD)
    _tgtadm("account", "bind", "--tid", number, *account)
    _tgtadm("target", "bind", "--tid", number, "--initiator-name", INITIATOR)


def stage(number: str) -> None:
    settings = SETTINGS | {"node.session.auth.username": _volume(number)}
    changes = [part for key, value in settings.items() for part in ("-n", key, "-v", value)]
    _iscsiadm(number, "--op", "new")
    _iscsiadm(number, "--op", "update", *changes)
    _iscsiadm(number, "--login")
    session = _session(number)
    Path(f"/sys/class/scsi_host/{session.parent.name}/scan").write_text("0 0 1")
    deadline = time.monotonic() + DISK_SECONDS
    while not _disk(number):
        if time.monotonic() > deadline:
            raise TimeoutError(f"Volume {number} is no disk {DISK_SECONDS} s after its login.")
        time.sleep(PAUSE)


def mount(number: str) -> None:
    """As for a pod with raw block."""
    place = _place(number)
    place.touch()
    _run("mount", "--bind", _disk(number), str(place))


def format_and_mount(number: str) -> None:
    """As for a pod with a file system."""
    place = _place(number)
    place.mkdir()
    _run("mkfs.ext4", "-q", _disk(number))
    _run("mount", _disk(number), str(place))


def unmount(number: str) -> None:
    place = _place(number)
    _run("umount", str(place))
    if place.is_dir():
        place.rmdir()
    else:
        place.unlink()


def unstage(number: str) -> None:
    for delete in _session(number).glob("target*/*/delete"):
        delete.write_text("1")
    _iscsiadm(number, "--logout")
    _iscsiadm(number, "--op", "delete")


def unpublish(number: str) -> None:
    _tgtadm("target", "delete", "--force", "--tid", number)
    _tgtadm("account", "delete", "--user", _volume(number))


def delete(number: str) -> None:
    _run("lvm", "lvremove", "--yes", f"vg0/{_volume(number)}")


STEPS: dict[str, Callable[[str], None]] = {
    step.__name__: step
    for step in (
        *(create, publish, stage, mount, format_and_mount),
        *(unmount, unstage, unpublish, delete),
    )
}


def main(step: str, *numbers: str) -> None:
    """Do a step and print how long it took."""
    began = time.perf_counter()
    if len(numbers) == 1:
        STEPS[step](numbers[0])
    else:
        with ThreadPoolExecutor(len(numbers)) as threads:
            list(threads.map(STEPS[step], numbers))
    print(time.perf_counter() - began)


def _volume(number: str) -> str:
    return f"bare-{number}"


def _target(number: str) -> str:
    return f"iqn.2026-11.test.bare:{number}"


def _place(number: str) -> Path:
    return Path("/run", _volume(number))


def _disk(number: str) -> str:
    """The device of the volume; empty while there is none."""
    disks = [Path("/dev", disk.name) for disk in _session(number).glob("target*/*/block/*")]
    return next((str(disk) for disk in disks if disk.exists()), "")


def _session(number: str) -> Path:
    """The directory in sysfs of the session to the volume's target."""
    for session in Path("/sys/class/iscsi_session").iterdir():
        if (session / "targetname").read_text().strip() == _target(number):
            return (session / "device").resolve()
    raise LookupError(f"There is no session to {_target(number)}.")


def _tgtadm(mode: str, operation: str, *arguments: str) -> None:
    _run("tgtadm", "--mode", mode, "--op", operation, *arguments)


def _iscsiadm(number: str, *arguments: str) -> None:
    record = ("--targetname", _target(number), "--portal", PORTAL)
    _run("iscsiadm", "--mode", "node", *record, *arguments)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main(*sys.argv[1:])
