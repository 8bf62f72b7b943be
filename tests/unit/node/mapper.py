"""Device-mapper of a host of files: tables and states in the words that were captured."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from csi_lvm_iscsi.initiator.host_paths import HostPaths

MAJOR = 254


@dataclass
class _Map:
    number: str
    loaded: tuple[int, str] | None = None
    sectors: int = 0
    paths: dict[str, str] = field(default_factory=dict)
    queueing: bool = True
    in_use: bool = False
    """Whether something above has it open."""


class Mapper:
    """See DeviceMapper. Each change is an action of the role, at which it may be killed."""

    def __init__(self, paths: HostPaths, act: Callable[[tuple[str, ...]], None]) -> None:
        self._paths = paths
        self._act = act
        self._maps: dict[str, _Map] = {}

    def maps(self) -> dict[str, str]:
        return {uuid: each.number for uuid, each in self._maps.items()}

    def create(self, uuid: str) -> None:
        self._act(("dm", "create"))
        used = {each.number for each in self._maps.values()}
        free = (f"{MAJOR}:{minor}" for minor in range(len(used) + 1))
        self._maps[uuid] = _Map(next(number for number in free if number not in used))

    def load(self, uuid: str, sectors: int, target: str, table: str) -> None:
        self._act(("dm", "load", table))
        assert target == "multipath"
        self._maps[uuid].loaded = sectors, table

    def resume(self, uuid: str) -> None:
        self._act(("dm", "resume"))
        each = self._maps[uuid]
        if each.loaded is None:
            return
        each.sectors, table = each.loaded
        each.loaded = None
        each.queueing = table.startswith("1 queue_if_no_path ")
        before = each.paths
        numbers = re.findall(r"\d+:\d+", table)
        each.paths = {number: before.get(number, "A") for number in numbers}
        name = self._name(each)
        block = self._paths.sys / "block" / name
        block.mkdir(parents=True, exist_ok=True)
        (block / "size").write_text(f"{each.sectors}\n")
        (self._paths.dev / name).write_bytes(bytes(4096))

    def message(self, uuid: str, text: str) -> None:
        self._act(("dm", "message", text))
        each = self._maps.get(uuid)
        if each is None:
            return
        if text.endswith("if_no_path"):
            each.queueing = text == "queue_if_no_path"
        else:
            verb, number = text.split()
            each.paths[number] = {"reinstate_path": "A", "fail_path": "F"}[verb]

    def status(self, uuid: str) -> str:
        each = self._maps.get(uuid)
        if each is None or not each.paths:
            return ""
        paths = " ".join(f"{number} {state} 0 0 1" for number, state in each.paths.items())
        return f"2 1 0 0 1 1 E 0 {len(each.paths)} 2 {paths} "

    def table(self, uuid: str) -> str:
        each = self._maps.get(uuid)
        if each is None or not each.paths:
            return ""
        features = "1 queue_if_no_path" if each.queueing else "0"
        paths = " ".join(f"{number} 1 1" for number in each.paths)
        return f"{features} 0 1 1 service-time 0 {len(each.paths)} 2 {paths} "

    def remove(self, uuid: str, *, deferred: bool) -> None:
        self._act(("dm", "remove", "deferred" if deferred else "now"))
        each = self._maps.get(uuid)
        if each is None:
            return
        if each.in_use:
            if not deferred:
                raise OSError(16, "Device or resource busy")
            return
        del self._maps[uuid]
        (self._paths.dev / self._name(each)).unlink(missing_ok=True)

    def fail(self, number: str) -> None:
        """Have the kernel give a path up."""
        for each in self._maps.values():
            each.paths[number] = "F"

    def open_all(self) -> None:
        """Have something above use all maps there are."""
        for each in self._maps.values():
            each.in_use = True

    def states(self) -> list[str]:
        """The states of the paths of all maps."""
        return [state for each in self._maps.values() for state in each.paths.values()]

    def sizes(self) -> list[int]:
        """The sizes of all maps, in sectors."""
        return [each.sectors for each in self._maps.values()]

    def queueing(self) -> list[bool]:
        """Whether I/O waits for a path, of all maps."""
        return [each.queueing for each in self._maps.values()]

    @staticmethod
    def _name(each: _Map) -> str:
        return f"dm-{each.number.partition(':')[2]}"
