"""The two that are compared: our calls, and the bare commands. Each step returns its seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol

from tests.e2e.driver import Driver, Volume
from tests.e2e.lab.lab import Lab
from tests.e2e.lab.services import CHECKOUT

STORAGE = "storage-1"
COMPUTE = "compute-1"
STEPS = ("create", "publish", "stage", "unstage", "unpublish", "delete")
ON_THE_NODE = ("stage", "mount", "format_and_mount", "unmount", "unstage")
SCRIPT = f"{CHECKOUT}/tests/e2e/bench/bare.py"


class Side(Protocol):
    """One who can bring a raw block volume to a node and take it away again."""

    def run(self, step: str, number: int) -> float:
        """Do one of STEPS for the volume of this number."""

    def attach_at_once(self, numbers: list[int]) -> float:
        """Publish and stage volumes, all at the same time."""


class Ours:
    """The driver, timed at the side of its client: with gRPC and the lab's relay."""

    def __init__(self, lab: Lab) -> None:
        self._driver = Driver(lab)
        self._volumes: dict[int, Volume] = {}

    def run(self, step: str, number: int) -> float:
        if step == "create":
            return _seconds(partial(self._create, number))
        volume = self._volumes[number]
        calls: dict[str, Callable[[], object]] = {
            "publish": partial(self._driver.publish, volume, COMPUTE),
            "stage": partial(self._stage, volume),
            "unstage": partial(self._driver.unstage, volume, COMPUTE),
            "unpublish": partial(self._driver.unpublish, volume, COMPUTE),
            "delete": partial(self._driver.delete, volume),
        }
        return _seconds(calls[step])

    def attach_at_once(self, numbers: list[int]) -> float:
        with ThreadPoolExecutor(len(numbers)) as threads:
            return _seconds(lambda: list(threads.map(self._attach, numbers)))

    def _create(self, number: int) -> None:
        self._volumes[number] = self._driver.create(f"bench-{number}")

    def _stage(self, volume: Volume) -> None:
        """NodeStageVolume alone: kubelet has made its directory before."""
        self._driver.node(
            COMPUTE,
            "NodeStageVolume",
            volume_id=volume.id,
            publish_context=volume.contexts[COMPUTE],
            staging_target_path=volume.staging_path,
            volume_capability=volume.capability,
        )

    def _attach(self, number: int) -> None:
        self._driver.publish(self._volumes[number], COMPUTE)
        self._stage(self._volumes[number])


class Bare:
    """The commands of bare.py, timed inside the hosts by the script itself."""

    def __init__(self, lab: Lab, tgtd_socket: str = "/var/run/tgtd/socket") -> None:
        """`tgtd_socket`: as tgtadm(8) takes it in TGT_IPC_SOCKET, without its `.0`."""
        self._storage = lab.host(STORAGE)
        self._compute = lab.host(COMPUTE)
        self._python = ("env", f"TGT_IPC_SOCKET={tgtd_socket}", sys.executable, "-S", SCRIPT)

    def run(self, step: str, number: int) -> float:
        return self._run(step, [number])

    def attach_at_once(self, numbers: list[int]) -> float:
        return self._run("publish", numbers) + self._run("stage", numbers)

    def _run(self, step: str, numbers: list[int]) -> float:
        host = self._compute if step in ON_THE_NODE else self._storage
        arguments = (step, *map(str, numbers))
        return float(host.exec(*self._python, *arguments).check().text)


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
