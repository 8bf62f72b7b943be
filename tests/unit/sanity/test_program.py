"""Which Go builds csi-sanity, and that a killed build leaves nothing that looks built."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.lab.errors import LabError
from tests.e2e.sanity import program


@pytest.mark.parametrize(
    ("said", "new_enough"),
    [
        ("go version go1.19.8 linux/amd64", False),  # Debian 12
        ("go version go1.26.6 linux/amd64", True),
        ("go version go1.27rc1 linux/amd64", True),
        ("go: cannot find GOROOT directory", False),
    ],
)
def test_a_go_that_is_too_old_is_not_used(tmp_path: Path, said: str, *, new_enough: bool) -> None:
    go = tmp_path / "go"
    go.write_text(f"#!/bin/sh\necho '{said}'\n")
    go.chmod(0o755)
    assert (program._version(str(go)) >= program._OLDEST_GO) is new_enough


def test_what_a_killed_build_left_is_not_taken_for_the_program(tmp_path: Path) -> None:
    place = tmp_path / "program"

    def killed(unfinished: Path) -> None:
        unfinished.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        program._made(place, killed)
    assert not place.exists()
    assert program._made(place, lambda unfinished: unfinished.write_text("whole")) == place
    assert place.read_text() == "whole"
    assert [path.name for path in tmp_path.iterdir()] == ["program"]


def test_a_program_that_is_not_built_is_no_riddle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(LabError, match=r"run `python -m tests\.e2e\.sanity` to build it"):
        program.program()
