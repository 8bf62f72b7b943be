"""Which staged volume a path shows, for calls that bring no publish_context."""

from pathlib import Path

from csi_lvm_iscsi.model.errors import NotFound
from csi_lvm_iscsi.node.mounts import Mount, Mounts
from csi_lvm_iscsi.node.staged import Staged, check_volume_id
from csi_lvm_iscsi.records.directory import RecordDirectory


class VolumePaths:
    """The paths of staged volumes."""

    def __init__(self, records: RecordDirectory[Staged], mounts: Mounts, boot_id: str) -> None:
        self._records = records
        self._mounts = mounts
        self._boot_id = boot_id

    def staged(self, volume: str, path: Path | None) -> Staged:
        """The record of a volume that is staged or published on a path (None: staged anywhere),
        whether or not its disk is still there. Raises NotFound where it is not."""
        check_volume_id(volume)
        record = self._records.read(volume)
        if record is None or record.boot_id != self._boot_id or record.device is None:
            raise NotFound(f"Volume {volume} is not staged on this node: call NodeStageVolume.")
        if path is None or str(path) == record.staging_path:
            return record
        if self.mount(record, path) is None:
            raise NotFound(
                f"Volume {volume} is not on {path}: name its staging path "
                f"({record.staging_path}) or a path that it is published on."
            )
        return record

    def mount(self, record: Staged, path: Path) -> Mount | None:
        """The mount of a staged volume's disk on a path."""
        mounted = self._mounts.at(path)
        return mounted if mounted is not None and _is_of(mounted, record) else None


def _is_of(mount: Mount, record: Staged) -> bool:
    if mount.file_system == "devtmpfs":
        # The second is how the kernel shows a node that was removed (fs/d_path.c).
        return mount.root in (f"/{record.device}", f"/{record.device}//deleted")
    return mount.number == record.number
