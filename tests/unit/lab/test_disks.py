"""Making the disk that has the nodes' images."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import MagicMock

import pytest

from tests.e2e.lab.kubernetes import disks


def test_a_workshop_that_a_killed_maker_left_up_is_taken_down_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disks, "CACHE", tmp_path)
    workshop = MagicMock()
    workshop.__enter__.return_value = workshop
    monkeypatch.setattr(disks, "Workshop", lambda _: workshop)
    disks._make(tmp_path / "images.img", None, [], lambda _: None)
    calls = [name for name, _, _ in workshop.method_calls if name in ("down", "up")]
    assert calls == ["down", "up"]
