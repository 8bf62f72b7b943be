"""VolumeCapability of CSI, as the model has it."""

from csi_lvm_iscsi.model.access import Capability
from csi_lvm_iscsi.model.errors import InvalidArgument
from csi_lvm_iscsi.rpc.pb import csi_pb2

_DEFAULT_FILE_SYSTEM = "ext4"


def capability_of(message: csi_pb2.VolumeCapability) -> Capability:
    """Read a capability. Raises InvalidArgument where it says neither block nor mount."""
    access_mode = csi_pb2.VolumeCapability.AccessMode.Mode.Name(message.access_mode.mode)
    if message.HasField("block"):
        return Capability(access_mode, file_system=None)
    if message.HasField("mount"):
        return Capability(
            access_mode,
            file_system=message.mount.fs_type or _DEFAULT_FILE_SYSTEM,
            mount_flags=tuple(message.mount.mount_flags),
        )
    raise InvalidArgument("A volume capability says neither `block` nor `mount`; set one.")
