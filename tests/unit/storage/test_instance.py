"""One storage role at a time, and none beside the lvm of a killed one. Real processes and locks."""

import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from csi_lvm_iscsi.commands.runner import ProcessRunner, Where
from csi_lvm_iscsi.commands.waiting import until
from csi_lvm_iscsi.model.errors import DriverError, TookTooLong
from csi_lvm_iscsi.storage import instance

# As lvm does (_close_stray_fds).
LVM = f"""#!{sys.executable}
import os, pathlib, sys, time
os.closerange(3, 1024)
time.sleep(float(sys.argv[1]))
pathlib.Path(sys.argv[2]).touch()
"""


@contextlib.asynccontextmanager
async def left(directory: Path, seconds: float, program: str = "lvm") -> AsyncIterator[Path]:
    """Be a role that is killed while its command goes on; the file that this makes at its end."""
    command, done = directory / program, directory / "done"
    command.write_text(LVM)
    command.chmod(0o700)
    lock = await instance.hold(directory)
    runner = ProcessRunner(instance.mark(lock))
    run = (str(command), str(seconds), str(done))
    with pytest.raises(TookTooLong):
        await runner.run(*run, where=Where.HERE, seconds=0.3, kill=False)
    os.close(lock)
    yield done
    # Else the loop may close before it hears of the end, and asyncio complains in a later test.
    await until(lambda: not runner._left_running, 10, "it did not end")


async def test_a_new_role_waits_for_the_lvm_of_a_killed_one(tmp_path: Path) -> None:
    async with left(tmp_path, 1.5) as done:
        assert not done.exists()
        os.close(await instance.hold(tmp_path))
        assert done.exists()


async def test_one_that_does_not_end_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instance, "_WAIT_SECONDS", 0.1)
    async with left(tmp_path, 60):
        lock = os.open(tmp_path / "lock", os.O_RDWR)
        (process,) = instance._left(lock)
        os.close(lock)
        with pytest.raises(DriverError, match=f"still runs .process {process}."):
            await instance.hold(tmp_path)
        os.kill(process, signal.SIGKILL)


async def test_a_daemon_that_stays_is_not_waited_for(tmp_path: Path) -> None:
    async with left(tmp_path, 1.5, "dmeventd") as done:
        os.close(await instance.hold(tmp_path))
        assert not done.exists()
