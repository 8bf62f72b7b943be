"""Which volume capabilities the driver has: how a volume is seen, and by how many nodes."""

from collections.abc import Iterable
from dataclasses import dataclass

from csi_lvm_iscsi.model.errors import InvalidArgument

FILE_SYSTEMS = ("ext4",)
ACCESS_MODES = (
    "SINGLE_NODE_WRITER",
    "SINGLE_NODE_SINGLE_WRITER",
    "SINGLE_NODE_MULTI_WRITER",
)


@dataclass(frozen=True, slots=True)
class Capability:
    """One VolumeCapability: the names of its access mode, and its file system (None: raw block)."""

    access_mode: str
    file_system: str | None
    mount_flags: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise InvalidArgument, naming what there is, unless the driver can serve it."""
        if self.access_mode not in ACCESS_MODES:
            raise InvalidArgument(
                f"Access mode {self.access_mode} is not supported; choose one of "
                f"{', '.join(ACCESS_MODES)} (ReadWriteOnce or ReadWriteOncePod)."
            )
        if self.file_system is not None and self.file_system not in FILE_SYSTEMS:
            raise InvalidArgument(
                f"File system {self.file_system} is not supported; choose one of "
                f"{', '.join(FILE_SYSTEMS)} (csi.storage.k8s.io/fstype in the StorageClass)."
            )


def check_all(capabilities: Iterable[Capability]) -> None:
    """Raise InvalidArgument unless there is at least one capability and all can be served."""
    count = 0
    for capability in capabilities:
        capability.check()
        count += 1
    if not count:
        raise InvalidArgument("The request names no volume capability; name at least one.")
