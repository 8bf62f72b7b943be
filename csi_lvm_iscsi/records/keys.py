"""The CHAP keys, which the storage hosts and the nodes share."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from csi_lvm_iscsi.model.errors import DriverError

_KEY_BYTES = 16


class KeyDirectory(Mapping[str, bytes]):
    """The CHAP keys: a directory with a file per key, named by its id, as a mounted Kubernetes
    secret is. Read at each use, so that rotation needs no restart. The last is the one for new
    publications."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __getitem__(self, key_id: str) -> bytes:
        try:
            key = (self._path / key_id).read_bytes().strip()
        except OSError as error:
            raise KeyError(key_id) from error
        if len(key) < _KEY_BYTES:
            raise DriverError(
                f"CHAP key {self._path / key_id} is shorter than {_KEY_BYTES} bytes: passwords "
                "made with it could be guessed. Replace it (`openssl rand -hex 32`)."
            )
        return key

    def __iter__(self) -> Iterator[str]:
        """Key ids are of letters and digits: an editor's backup is no key. k10 comes after k9."""
        found = (path.name for path in self._path.glob("*") if path.name.isalnum())
        return iter(sorted(found, key=key_order))

    def __len__(self) -> int:
        return len(list(iter(self)))


def key_order(key_id: str) -> list[tuple[str, int]]:
    """By what key ids are sorted: as text, the numbers in it as numbers."""
    parts = re.findall(r"([^0-9]*)([0-9]*)", key_id)
    return [(text, int(digits or 0)) for text, digits in parts]
