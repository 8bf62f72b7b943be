"""Which Go is used, and that a killed build leaves nothing that looks built."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.lab import go


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
    tool = tmp_path / "go"
    tool.write_text(f"#!/bin/sh\necho '{said}'\n")
    tool.chmod(0o755)
    assert (go.version(str(tool)) >= go.OLDEST) is new_enough


def test_what_a_killed_build_left_is_not_taken_for_the_program(tmp_path: Path) -> None:
    place = tmp_path / "program"

    def killed(unfinished: Path) -> None:
        unfinished.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go.made(place, killed)
    assert not place.exists()
    assert go.made(place, lambda unfinished: unfinished.write_text("whole")) == place
    assert place.read_text() == "whole"
    assert [path.name for path in tmp_path.iterdir()] == ["program"]
