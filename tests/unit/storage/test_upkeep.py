"""Exports are rebuilt after tgtd's death: all before the portals, but none keeps them long."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from csi_lvm_iscsi.commands.runner import Completed
from csi_lvm_iscsi.commands.waiting import until
from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.model.errors import Unavailable
from csi_lvm_iscsi.model.in_flight import InFlight
from csi_lvm_iscsi.storage import upkeep
from csi_lvm_iscsi.storage.grants import Grant, GrantRecords
from csi_lvm_iscsi.storage.tgt import connections
from csi_lvm_iscsi.storage.tgt.socket import Mode, Op
from csi_lvm_iscsi.storage.tgt.version import RunningVersion
from csi_lvm_iscsi.storage.upkeep import Upkeep
from tests.scenarios import NAME, NODE, start
from tests.unit.storage.test_crashes import RECORDED, _show_device, _uuid

ACTIONS = RECORDED["publish"]["undisturbed"]["actions"]
REPORT = ACTIONS[0]["stdout"]
VOLUME = names.volume_id(_uuid(ACTIONS), NAME)


class Tgtd:
    """A tgtd that has just started; it keeps what was made, and refuses at first what is told."""

    def __init__(self, unavailable: int = 0) -> None:
        self.made: list[str] = []
        self.unavailable = unavailable

    async def open_process(self) -> tuple[int, int]:
        return os.getpid(), os.pidfd_open(os.getpid())

    async def request(self, mode: Mode, op: Op, parameters: str = "", **_: Any) -> str:  # noqa: ANN401
        if op is Op.NEW:
            if self.unavailable:
                self.unavailable -= 1
                raise Unavailable("tgtd does not answer")
            self.made.append(mode.name)
        return ""


class Lvm:
    """lvm, which hangs when it is to make a volume active; and `tgtd --version`."""

    def __init__(self) -> None:
        self.goes_on = asyncio.Event()
        self.asked_version_of: list[str] = []

    async def run(self, *argv: str, **_: Any) -> Completed:  # noqa: ANN401
        if "nsenter" in argv:
            self.asked_version_of += [each for each in argv if each.startswith("--target=")]
        if "lvchange" in argv:
            await self.goes_on.wait()
        return Completed(argv, 0, "1.0.85\n" if "nsenter" in argv else REPORT, "")


@contextlib.asynccontextmanager
async def running(
    tgtd: Tgtd, lvm: Lvm, directory: Path, in_flight: InFlight | None = None
) -> AsyncIterator[Upkeep]:
    """The upkeep of a host with one published volume."""
    GrantRecords(directory / "grants").set(VOLUME, [Grant(NODE, "0123456789abcdef", "k1")])
    parts = await start(lvm, tgtd, directory, tid=1, nonce="", device_root=directory)
    kept = Upkeep(
        tgtd,
        RunningVersion(lvm),
        parts.publications,
        parts.exports,
        in_flight=in_flight or InFlight(),
        refresh_volumes=parts.catalog.refresh,
    )
    task = asyncio.create_task(kept.run())
    try:
        yield kept
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_what_tgtd_did_not_answer_is_asked_again_before_the_portals(tmp_path: Path) -> None:
    _show_device(tmp_path, _uuid(ACTIONS))
    tgtd = Tgtd(unavailable=2)
    async with running(tgtd, Lvm(), tmp_path) as kept:
        await kept.ready()
    assert tgtd.made == ["TARGET", "LOGICAL_UNIT", "ACCOUNT", "PORTAL"]
    assert (kept.state.rebuilt, kept.state.broken) == (1, 0)


async def test_connections_are_set_up_before_tgtd_is_asked_and_when_portals_are_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _show_device(tmp_path, _uuid(ACTIONS))
    tgtd, had = Tgtd(), list[tuple[int, str]]()

    def set_up(pid: int, _: int) -> None:
        had.append((pid, tgtd.made[-1] if tgtd.made else ""))

    monkeypatch.setattr(connections, "set_up", set_up)
    async with running(tgtd, Lvm(), tmp_path) as kept:
        await kept.ready()
        assert had == [(os.getpid(), ""), (os.getpid(), "PORTAL")]


async def test_a_volume_that_hangs_keeps_no_portal_shut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "_PATIENCE_SECONDS", 0.1)
    tgtd, lvm = Tgtd(), Lvm()
    async with running(tgtd, lvm, tmp_path) as kept:
        await kept.ready()
        assert tgtd.made == ["PORTAL"]
        assert lvm.asked_version_of == [f"--target={os.getpid()}"]
        assert kept.state.broken == 1
        _show_device(tmp_path, _uuid(ACTIONS))
        lvm.goes_on.set()
        await until(lambda: kept.state.rebuilt, 5, "it was given up")
    assert tgtd.made == ["PORTAL", "TARGET", "LOGICAL_UNIT", "ACCOUNT"]


async def test_what_is_begun_for_a_tgtd_ends_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "_PATIENCE_SECONDS", 0.1)
    async with running(Tgtd(), Lvm(), tmp_path) as kept:
        await kept.ready()
        assert kept._rebuilding
    assert not kept._rebuilding


async def test_a_call_waits_for_the_rebuilding_of_its_volume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "_PATIENCE_SECONDS", 0.1)
    lvm, in_flight = Lvm(), InFlight()
    async with running(Tgtd(), lvm, tmp_path, in_flight) as kept:

        async def rebuilt() -> int:
            async with in_flight.call(VOLUME, "a call"):
                return kept.state.rebuilt

        await kept.ready()
        call = asyncio.create_task(rebuilt())
        ended, _ = await asyncio.wait({call}, timeout=0.05)
        assert not ended
        _show_device(tmp_path, _uuid(ACTIONS))
        lvm.goes_on.set()
        assert await call == 1


async def test_addresses_that_cannot_be_read_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _show_device(tmp_path, _uuid(ACTIONS))

    async def fail() -> None:
        raise OSError(105, "No buffer space available")

    with capture_logs() as logs:
        async with running(Tgtd(), Lvm(), tmp_path) as kept:
            monkeypatch.setattr(kept._exports, "open_portals", fail)
            told = "exports cannot be compared"
            await until(lambda: told in [each["event"] for each in logs], 5, "nothing was told")
