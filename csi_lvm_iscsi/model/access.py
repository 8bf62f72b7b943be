"""Which volume capabilities the driver has: how a volume is seen, and by how many nodes."""

from collections.abc import Iterable
from dataclasses import dataclass

from csi_lvm_iscsi.model.errors import InvalidArgument

FILE_SYSTEMS = ("ext4", "xfs")
_READ_ONLY = ("SINGLE_NODE_READER_ONLY", "MULTI_NODE_READER_ONLY")
_SHARED_WRITERS = ("MULTI_NODE_SINGLE_WRITER", "MULTI_NODE_MULTI_WRITER")
_SHARED = ("MULTI_NODE_READER_ONLY", *_SHARED_WRITERS)
ACCESS_MODES = (
    "SINGLE_NODE_WRITER",
    "SINGLE_NODE_SINGLE_WRITER",
    "SINGLE_NODE_MULTI_WRITER",
    *_READ_ONLY,
    *_SHARED_WRITERS,
)


@dataclass(frozen=True, slots=True)
class Capability:
    """One VolumeCapability: the names of its access mode, and its file system (None: raw block)."""

    access_mode: str
    file_system: str | None
    mount_flags: tuple[str, ...] = ()

    @property
    def read_only(self) -> bool:
        """Whether no node may write."""
        return self.access_mode in _READ_ONLY

    @property
    def shared(self) -> bool:
        """Whether several nodes may have the volume at once."""
        return self.access_mode in _SHARED

    def check(self) -> None:
        """Raise InvalidArgument, naming what there is, unless the driver can serve it."""
        if self.access_mode not in ACCESS_MODES:
            raise InvalidArgument(
                f"Access mode {self.access_mode} is not supported; choose one of "
                f"{', '.join(ACCESS_MODES)}."
            )
        if self.file_system is None:
            return
        if self.file_system not in FILE_SYSTEMS:
            raise InvalidArgument(
                f"File system {self.file_system} is not supported; choose one of "
                f"{', '.join(FILE_SYSTEMS)} (csi.storage.k8s.io/fstype in the StorageClass)."
            )
        if self.access_mode in _SHARED_WRITERS:
            raise InvalidArgument(
                f"{self.file_system} on several nodes at once would be destroyed: use raw block "
                f"(volumeMode: Block) for {self.access_mode}, or ReadWriteOnce."
            )


def check_all(capabilities: Iterable[Capability]) -> None:
    """Raise InvalidArgument unless there is at least one capability and all can be served."""
    count = 0
    for capability in capabilities:
        capability.check()
        count += 1
    if not count:
        raise InvalidArgument("The request names no volume capability; name at least one.")
