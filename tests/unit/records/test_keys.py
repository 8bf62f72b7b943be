"""The directory of CHAP keys, as a mounted secret is one."""

from pathlib import Path

import pytest

from csi_lvm_iscsi.model.errors import DriverError
from csi_lvm_iscsi.records.keys import KeyDirectory

KEY = "0123456789abcdef\n"


def test_the_last_key_is_the_one_with_the_highest_number(tmp_path: Path) -> None:
    for name in ("k10", "k9", "k1", "k02", "..data", "k10~"):
        (tmp_path / name).write_text(KEY)
    assert list(KeyDirectory(tmp_path)) == ["k1", "k02", "k9", "k10"]


def test_a_key_that_comes_later_is_seen(tmp_path: Path) -> None:
    keys = KeyDirectory(tmp_path)
    assert "k1" not in keys
    (tmp_path / "k1").write_text(KEY)
    assert keys["k1"] == KEY.strip().encode()


def test_a_short_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "k1").write_text("secret\n")
    with pytest.raises(DriverError, match="could be guessed"):
        KeyDirectory(tmp_path)["k1"]
