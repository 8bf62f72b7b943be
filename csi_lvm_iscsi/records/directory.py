"""One JSON record per volume in one directory."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

from csi_lvm_iscsi.model.errors import DriverError
from csi_lvm_iscsi.records import files

R = TypeVar("R")


class RecordDirectory(Generic[R]):
    """The records of one kind. Volume ids are file names: their alphabet has no slash."""

    def __init__(
        self,
        path: Path,
        encode: Callable[[R], Mapping[str, Any]],
        decode: Callable[[dict[str, Any]], R],
    ) -> None:
        self._path = path
        self._encode = encode
        self._decode = decode
        path.mkdir(parents=True, exist_ok=True, mode=0o700)

    def read(self, volume_id: str) -> R | None:
        """The record of a volume; None where there is none. Raises DriverError where it cannot be
        understood."""
        path = self._file(volume_id)
        try:
            text = path.read_text()
        except FileNotFoundError:
            return None
        try:
            return self._decode(json.loads(text))
        except (ValueError, KeyError, TypeError) as error:
            raise DriverError(
                f"The record {path} cannot be understood ({error!r}). It is written whole or not "
                "at all, so something else changed it: restore it, or move it away."
            ) from error

    def ids(self) -> list[str]:
        """The volume ids of all records."""
        return sorted(path.stem for path in self._path.glob("[!.]*.json"))

    def read_all(self) -> Iterator[tuple[str, R]]:
        """All records with their volume ids."""
        for volume_id in self.ids():
            record = self.read(volume_id)
            if record is not None:
                yield volume_id, record

    def write(self, volume_id: str, record: R) -> None:
        """Put the record of a volume on the disk."""
        files.write(
            self._file(volume_id), json.dumps(self._encode(record), indent=1).encode() + b"\n"
        )

    def remove(self, volume_id: str) -> None:
        """Remove the record of a volume, if there is one."""
        files.remove(self._file(volume_id))

    def _file(self, volume_id: str) -> Path:
        return self._path / f"{volume_id}.json"
