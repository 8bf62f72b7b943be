"""Grants: the durable intent that a node may use a volume. One small file per volume.

A publish must not pay for a commit of LVM's metadata, so this is kept beside it. The files may be
lost with the host's /var: then ListVolumes shows the volumes as not published, and
external-attacher publishes them again.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.records.directory import RecordDirectory


@dataclass(frozen=True, slots=True)
class Grant:
    """The right of a node: its nonce makes the CHAP password, with the key of that id."""

    node_id: str
    nonce: str
    key_id: str
    read_only: bool = False
    shared: bool = False
    """Whether other nodes may have the volume at the same time."""

    def target(self, volume_id: str) -> str:
        """The name of the target that is for this grant alone."""
        return names.target_iqn(volume_id, self.node_id if self.shared else "")


Grants = tuple[Grant, ...]


class GrantRecords:
    """The grants of all volumes of this host."""

    def __init__(self, directory: Path) -> None:
        self._records: RecordDirectory[Grants] = RecordDirectory(directory, _encode, _decode)
        self._grants = dict(self._records.read_all())

    def of(self, volume_id: str) -> Grants:
        """The grants of a volume."""
        return self._grants.get(volume_id, ())

    def all(self) -> dict[str, Grants]:
        """The grants of all volumes that have any."""
        return dict(self._grants)

    def set(self, volume_id: str, grants: Sequence[Grant]) -> None:
        """Put the grants of a volume on the disk; no grants, no file."""
        if grants:
            self._records.write(volume_id, tuple(grants))
            self._grants[volume_id] = tuple(grants)
        else:
            self._records.remove(volume_id)
            self._grants.pop(volume_id, None)


def _encode(grants: Grants) -> dict[str, Any]:
    return {"grants": [asdict(grant) for grant in grants]}


def _decode(record: dict[str, Any]) -> Grants:
    return tuple(Grant(**each) for each in record["grants"])
