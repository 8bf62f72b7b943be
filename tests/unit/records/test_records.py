from pathlib import Path

import pytest

from csi_lvm_iscsi.model.errors import DriverError
from csi_lvm_iscsi.records import files
from csi_lvm_iscsi.records.directory import RecordDirectory


def directory(path: Path) -> RecordDirectory[str]:
    return RecordDirectory(path, lambda text: {"text": text}, lambda record: str(record["text"]))


def test_records_outlast_the_process(tmp_path: Path) -> None:
    records = directory(tmp_path / "records")
    records.write("a", "one")
    records.write("a", "two")
    records.write("b", "three")
    records.remove("b")
    records.remove("b")
    assert dict(directory(tmp_path / "records").read_all()) == {"a": "two"}
    assert records.read("b") is None


def test_a_record_of_a_killed_write_is_not_read(tmp_path: Path) -> None:
    records = directory(tmp_path)
    records.write("a", "whole")
    (tmp_path / ".a.json.new").write_text('{"te')
    assert dict(records.read_all()) == {"a": "whole"}
    records.write("a", "again")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '"text"'])
def test_a_record_that_something_else_changed(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DriverError, match=r"a\.json cannot be understood"):
        directory(tmp_path).read("a")


def test_records_are_for_us_alone(tmp_path: Path) -> None:
    files.write(tmp_path / "secret", b"x")
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
    assert directory(tmp_path / "new") is not None
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


def test_a_stray_file_may_be_left_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    (tmp_path / "stray").write_text("of a killed write, and longer")
    files.write(tmp_path / "records" / "a", b"whole", tmp_path / "stray")
    assert (tmp_path / "records" / "a").read_bytes() == b"whole"
    assert [path.name for path in tmp_path.iterdir()] == ["records"]
