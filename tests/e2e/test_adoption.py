"""A logical volume that others made, with data in it, becomes a volume of ours by one command."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.e2e.driver import Driver, Refused, Volume
from tests.e2e.lab.host import Host
from tests.e2e.lab.lab import Lab
from tests.e2e.lab.remote import Result
from tests.e2e.lab.services import ENVIRONMENT, _python
from tests.e2e.waste import wait_until_wiped, zero_free_extents

NODE = "compute-1"
MADE = {
    "thin": ("--virtualsize", "64M", "--thinpool", "vg0/pool"),
    "thick": ("--size", "64M", "vg0"),
}
MAKE_DATA = """
set -e
mkfs.ext4 -q /dev/vg0/$1
mkdir -p /mnt/$1
mount /dev/vg0/$1 /mnt/$1
echo "$1's data" >/mnt/$1/kept
"""


@pytest.fixture(params=MADE)
def other(lab: Lab, request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a logical volume of somebody else's, with a file system that is mounted."""
    called = f"volume-{request.param}"
    host = lab.host("storage-1")
    host.exec("lvcreate", "--yes", "--name", called, *MADE[request.param]).check()
    host.exec("sh", "-c", MAKE_DATA, "sh", called).check()
    yield called
    host.exec("umount", f"/mnt/{called}")
    if host.exec("lvremove", "--yes", f"vg0/{called}").status == 0:
        zero_free_extents(host)


def adopt(host: Host, *arguments: str) -> Result:
    """Run the command as an administrator does."""
    environment = [f"{key}={text}" for key, text in ENVIRONMENT.items()]
    return host.exec("env", *environment, *_python("-m", "csi_lvm_iscsi", "adopt", *arguments))


def test_a_logical_volume_is_adopted_with_its_data(
    lab: Lab, driver: Driver, name: Callable[[], str], other: str
) -> None:
    host = lab.host("storage-1")
    called = name()
    refused = adopt(host, f"vg0/{other}")
    assert refused.status == 1
    assert f"it is mounted on /mnt/{other}" in refused.stderr.decode()
    host.exec("umount", f"/mnt/{other}").check()

    for change in (("--permission", "r"), ("--setactivationskip", "y"), ("--activate", "n")):
        host.exec("lvchange", *change, f"vg0/{other}").check()
    refused = adopt(host, f"vg0/{other}")
    assert f"`lvchange --permission rw vg0/{other}`" in refused.stderr.decode()
    host.exec("lvchange", "--permission", "rw", f"vg0/{other}").check()

    adopted = adopt(host, f"vg0/{other}", "--name", called, "--storage-class", "lvm").check()
    persistent_volume: dict[str, Any] = json.loads(adopted.stdout)
    assert persistent_volume["metadata"] == {"name": called}
    spec = persistent_volume["spec"]
    assert spec["csi"]["fsType"] == "ext4"
    assert spec["persistentVolumeReclaimPolicy"] == "Retain"
    assert spec["storageClassName"] == "lvm"

    volume = Volume(spec["csi"]["volumeHandle"], called, block=False)
    driver.attach(volume, NODE)  # at once: the role learns of it by this call
    kept = lab.host(NODE).exec("cat", f"{volume.target_path}/kept").check().text
    assert kept == f"{other}'s data"
    again = adopt(host, f"vg0/{other}").check()
    assert again.stdout == adopted.stdout.replace(b'"lvm"', b'""'), "it is ours: in use or not"
    driver.detach(volume, NODE)

    driver.delete(volume)
    wait_until_wiped(lab)
    assert host.exec("lvs", f"vg0/{other}").status != 0


@pytest.mark.parametrize(
    ("what", "told"),
    [("vg0/pool", "is a thin pool"), ("vg0/none", "There is no vg0/none"), ("vg9/a", "vg9")],
)
def test_what_cannot_be_adopted(lab: Lab, what: str, told: str) -> None:
    refused = adopt(lab.host("storage-1"), what)
    assert refused.status == 1
    assert told in refused.stderr.decode()


def test_a_name_that_is_taken(
    lab: Lab, driver: Driver, name: Callable[[], str], other: str
) -> None:
    volume = driver.create(name(), storageHost="storage-1")
    host = lab.host("storage-1")
    host.exec("umount", f"/mnt/{other}").check()
    refused = adopt(host, f"vg0/{other}", "--name", volume.name)
    assert f"is the volume {volume.name} already" in refused.stderr.decode()
    with pytest.raises(Refused, match="NOT_FOUND"):
        driver.publish(Volume(f"{volume.id[:9]}{other}", other, block=True), NODE)
    driver.delete(volume)
