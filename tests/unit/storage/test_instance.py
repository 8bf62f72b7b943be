"""One storage role at a time, and none beside the lvm of a killed one. Real processes and locks."""

import os
from pathlib import Path

import pytest

from csi_lvm_iscsi.commands.runner import ProcessRunner, Where
from csi_lvm_iscsi.model.errors import TookTooLong
from csi_lvm_iscsi.storage import instance


async def test_a_new_role_waits_for_the_command_of_a_killed_one(tmp_path: Path) -> None:
    done = tmp_path / "done"
    lock = await instance.hold(tmp_path)
    runner = ProcessRunner(inherit=(lock,))
    script = f"sleep 0.7; echo > {done}"
    with pytest.raises(TookTooLong):
        await runner.run("sh", "-c", script, where=Where.HERE, seconds=0.1, kill=False)
    os.close(lock)  # the role is gone, its command goes on
    os.close(await instance.hold(tmp_path))
    assert done.exists()
