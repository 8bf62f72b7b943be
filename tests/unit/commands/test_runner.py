"""Real processes: what bounds them is the kernel's, not a fake's."""

import asyncio
import gc
import time
from pathlib import Path

import pytest

from csi_lvm_iscsi.commands import runner
from csi_lvm_iscsi.commands.runner import CommandFailed, ProcessRunner, Where
from csi_lvm_iscsi.commands.waiting import until
from csi_lvm_iscsi.model.errors import DriverError, TookTooLong


async def test_a_command_gives_its_output_and_code() -> None:
    completed = await ProcessRunner().run(
        "sh", "-c", "echo out; echo err >&2; exit 3", where=Where.HERE, seconds=10, expect=(3,)
    )
    assert (completed.code, completed.stdout, completed.stderr) == (3, "out\n", "err\n")


async def test_another_code_is_an_error_that_quotes_the_command() -> None:
    with pytest.raises(CommandFailed, match=r"`sh -c 'echo why >&2; exit 5'` failed .* 5: why"):
        await ProcessRunner().run("sh", "-c", "echo why >&2; exit 5", where=Where.HERE, seconds=10)


async def test_a_hung_command_is_killed_with_its_children(tmp_path: Path) -> None:
    alive = tmp_path / "alive"
    script = f"(while :; do echo >> {alive}; sleep 0.05; done) & wait"
    started = time.monotonic()
    with pytest.raises(TookTooLong, match="did not end within"):
        await ProcessRunner().run("sh", "-c", script, where=Where.HERE, seconds=0.3)
    assert time.monotonic() - started < 5
    size = alive.stat().st_size
    await asyncio.sleep(0.3)
    assert alive.stat().st_size == size


async def test_a_command_that_must_not_be_killed_goes_on(tmp_path: Path) -> None:
    done = tmp_path / "done"
    runner = ProcessRunner()
    with pytest.raises(TookTooLong, match="left running"):
        await runner.run(
            "sh", "-c", f"sleep 0.5; echo > {done}", where=Where.HERE, seconds=0.1, kill=False
        )
    gc.collect()
    await until(done.exists, 10, "it was killed")
    # Else the loop may close before it hears of the end, and asyncio complains in a later test.
    await until(lambda: not runner._left_running, 10, "it did not end")


async def test_a_hung_command_holds_up_no_other() -> None:
    hung = asyncio.create_task(ProcessRunner().run("sleep", "60", where=Where.HERE, seconds=60))
    await ProcessRunner().run("true", where=Where.HERE, seconds=5)
    hung.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hung


async def test_commands_run_in_the_c_locale_without_input() -> None:
    completed = await ProcessRunner().run(
        "sh", "-c", "echo $LC_ALL; cat", where=Where.HERE, seconds=10
    )
    assert completed.stdout == "C\n"


async def test_waiting_ends_with_what_was_waited_for_or_a_sentence() -> None:
    answers = iter([None, None, "there"])
    assert await until(lambda: next(answers), 5, "never") == "there"
    with pytest.raises(TookTooLong, match="never came"):
        await until(lambda: None, 0.05, "never came")


async def test_a_missing_program_is_told_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(DriverError, match=r"`mkfs.xfs` cannot be started.*package xfsprogs"):
        await ProcessRunner().run("mkfs.xfs", where=Where.HERE, seconds=10)


async def test_a_program_that_the_host_lacks_is_told_with_its_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From a container: what enters the host is there, and says 127 of the program."""
    enter = ("sh", "-c", runner._LEAVE_CONTAINER, "sh")
    monkeypatch.setattr(runner, "_enter_host", lambda: enter)
    completed = await ProcessRunner().run("echo", "a b", where=Where.HOST, seconds=10)
    assert completed.stdout == "a b\n"
    assert completed.argv == ("echo", "a b")
    monkeypatch.setitem(runner._PACKAGES, "no-such-lvm", "lvm2")
    with pytest.raises(DriverError, match=r"`no-such-lvm` cannot be started .*package lvm2"):
        await ProcessRunner().run("no-such-lvm", where=Where.HOST, seconds=10, expect=range(256))
