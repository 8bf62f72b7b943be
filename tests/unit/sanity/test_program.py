"""What is said where csi-sanity has not been built."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.lab.errors import LabError
from tests.e2e.sanity import program


def test_a_program_that_is_not_built_is_no_riddle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(LabError, match=r"run `python -m tests\.e2e\.sanity` to build it"):
        program.program()
