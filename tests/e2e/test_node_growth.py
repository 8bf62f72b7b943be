"""Volumes that grew on their storage host grow on the node: in use, or at their next stage."""

from collections.abc import Callable

import pytest

from tests.e2e.driver import MIB, Driver, Refused, Volume, checksum, write_pattern
from tests.e2e.lab.lab import Lab
from tests.e2e.test_recovery import storage_of

NODE = "compute-1"
SIZE = 320 * MIB
GROWN = 448 * MIB

EACH = pytest.mark.parametrize("fs_type", ["", "ext4", "xfs"], ids=["block", "ext4", "xfs"])

GROW = """
lvextend --quiet -L "$2"b vg0/"$1"
tid=$(tgtadm --op show --mode target | sed -n "s/^Target \\([0-9]*\\): .*:$1$/\\1/p")
[ -n "$tid" ] || exit 0
for change in online=0 path=/dev/vg0/"$1" online=1; do
    tgtadm --op update --mode logicalunit --tid "$tid" --lun 1 --params "$change" || exit
done
"""


def new(driver: Driver, name: Callable[[], str], fs_type: str) -> Volume:
    return driver.create(name(), block=not fs_type, size=SIZE, fs_type=fs_type)


def grow(lab: Lab, volume: Volume) -> None:
    """Grow the logical volume by hand, and have tgtd learn its size where it is exported."""
    storage_of(lab, volume).exec("bash", "-c", GROW, "bash", volume.id, str(GROWN)).check()


def size(lab: Lab, volume: Volume) -> int:
    """What a pod sees: of the device, or of its file system."""
    ask = ("blockdev", "--getsize64") if volume.block else ("findmnt", "-bno", "SIZE")
    return int(lab.host(NODE).exec(*ask, volume.target_path).check().text)


def expand(driver: Driver, volume: Volume, path: str, required: int = GROWN) -> int:
    answer = driver.node(
        NODE,
        "NodeExpandVolume",
        volume_id=volume.id,
        volume_path=path,
        capacity_range={"required_bytes": required},
    )
    return int(answer["capacityBytes"])


@EACH
def test_a_volume_in_use_grows(
    lab: Lab, driver: Driver, name: Callable[[], str], fs_type: str
) -> None:
    volume = new(driver, name, fs_type)
    driver.attach(volume, NODE)
    write_pattern(lab.host(NODE), volume, "before")
    written = checksum(lab.host(NODE), volume)
    before = size(lab, volume)
    assert expand(driver, volume, volume.target_path, SIZE) == SIZE
    grow(lab, volume)
    for path in (volume.target_path, volume.staging_path):
        assert expand(driver, volume, path) == GROWN
    assert size(lab, volume) - before > (GROWN - SIZE) * 0.9
    assert checksum(lab.host(NODE), volume) == written
    driver.detach(volume, NODE)
    driver.delete(volume)


@EACH
def test_a_volume_that_grew_while_it_was_detached(
    lab: Lab, driver: Driver, name: Callable[[], str], fs_type: str
) -> None:
    """As one that was restored to a larger size, too."""
    volume = new(driver, name, fs_type)
    driver.attach(volume, NODE)
    write_pattern(lab.host(NODE), volume, "before")
    written = checksum(lab.host(NODE), volume)
    driver.detach(volume, NODE)
    grow(lab, volume)
    driver.attach(volume, NODE)
    assert size(lab, volume) > SIZE
    assert checksum(lab.host(NODE), volume) == written
    driver.detach(volume, NODE)
    driver.delete(volume)


def test_what_cannot_grow_says_why(driver: Driver, name: Callable[[], str]) -> None:
    volume = new(driver, name, "ext4")
    with pytest.raises(Refused, match="is not staged on this node") as refused:
        expand(driver, volume, volume.target_path)
    assert refused.value.code == "NOT_FOUND"
    driver.attach(volume, NODE)
    with pytest.raises(Refused, match="is not on /run") as refused:
        expand(driver, volume, "/run")
    assert refused.value.code == "NOT_FOUND"
    with pytest.raises(Refused, match="the storage host has not grown it yet") as refused:
        expand(driver, volume, volume.target_path)
    assert refused.value.code == "UNAVAILABLE"
    driver.detach(volume, NODE)
    driver.delete(volume)
