"""How many processes each operation starts at most. Started ones are what makes a driver slow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from tests.e2e.driver import Driver
from tests.e2e.lab.lab import Lab
from tests.e2e.processes import Processes

NODE = "compute-1"

Counts = dict[str, Counter[str]]
"""For each operation, how many processes of each name."""


def bounds(*, block: bool) -> Counts:
    """The most that each operation may start; a name that is not here may not start at all."""
    login = {"compute iscsiadm": 1}
    logout_forget = {"compute iscsiadm": 2}
    make = {"compute blkid": 1, "compute mkfs.ext4": 1, "compute mount": 1}
    check = {"compute blkid": 1, "compute e2fsck": 1, "compute mount": 1}
    unmount = {"compute umount": 1}
    # lvm runs thin_check when the pool becomes active or inactive: with its first volume or last.
    change = {"storage lvm": 1, "storage thin_check": 2}
    most = {
        "create": change,
        "publish": {},
        "stage": login if block else login | make,
        "publish to pod": {"compute mount": 1},
        "unpublish from pod": unmount,
        "unstage": logout_forget if block else logout_forget | unmount,
        "stage again": login if block else login | check,
        "unstage again": logout_forget if block else logout_forget | unmount,
        "unpublish": {},
        "delete": change,
    }
    return {operation: Counter(names) for operation, names in most.items()}


def count_all(lab: Lab, driver: Driver, name: str, *, block: bool) -> Counts:
    """What each operation in the life of a volume starts."""
    with Processes(lab.hosts.values()) as processes:
        volume = driver.create(name, block=block)
        counts = {"create": processes.take()}
        operations: dict[str, Callable[[], object]] = {
            "publish": lambda: driver.publish(volume, NODE),
            "stage": lambda: driver.stage(volume, NODE),
            "publish to pod": lambda: driver.publish_to_pod(volume, NODE),
            "unpublish from pod": lambda: driver.unpublish_from_pod(volume, NODE),
            "unstage": lambda: driver.unstage(volume, NODE),
            "stage again": lambda: driver.stage(volume, NODE),
            "unstage again": lambda: driver.unstage(volume, NODE),
            "unpublish": lambda: driver.unpublish(volume, NODE),
            "delete": lambda: driver.delete(volume),
        }
        for operation, call in operations.items():
            call()
            counts[operation] = processes.take()
        return counts


@pytest.mark.parametrize("block", [True, False], ids=["block", "ext4"])
def test_processes_per_operation(
    lab: Lab, driver: Driver, name: Callable[[], str], *, block: bool
) -> None:
    first = count_all(lab, driver, name(), block=block)
    second = count_all(lab, driver, name(), block=block)
    most = bounds(block=block)
    assert first["create"]["storage lvm"] > 0, "nothing was recorded"
    assert first["stage"]["compute iscsiadm"] > 0, "nothing was recorded"
    excess = {}
    for operation in most:
        print(f"{operation:20}", dict(first[operation]), dict(second[operation]))
        # The storage role reads LVM each minute besides: that meets an operation once, not twice.
        excess[operation] = (first[operation] & second[operation]) - most[operation]
    assert not any(excess.values()), excess
