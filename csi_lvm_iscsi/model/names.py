"""Names: of volumes, logical volumes, targets, initiators, and how they follow from each other."""

import hashlib
import re
import urllib.parse

from csi_lvm_iscsi.model.errors import InvalidArgument

DRIVER = "csi-lvm-iscsi.github.io"
ZONE_KEY = f"topology.{DRIVER}/zone"
"""Of the topology of nodes and volumes, where zones are configured."""

STORAGE_LABEL = "csi-lvm-iscsi.node-restriction.kubernetes.io/storage"
"""It is `true` on the nodes that are storage hosts, where the chart is not told of other labels."""

IQN_PREFIX = "iqn.2026-11.io.github.csi-lvm-iscsi"

_MAX_NAME_BYTES = 128  # CSI spec, "Size Limits"
_MAX_IQN_BYTES = 223  # RFC 3720, 3.2.6.1
# In a device-mapper name, which ends at 127 characters, LVM writes each hyphen twice.
_MAX_PLAIN_NAME = 63
_PLAIN_NAME = re.compile(r"[a-z0-9][a-z0-9.-]*")
_HASHED_MARK = "h."
_SNAPSHOT_MARK = "s."
_ID_PREFIX = 8 + len("-")
_VOLUME_ID = re.compile(rf"[0-9a-f]{{8}}-(s\.)?[a-z0-9][a-z0-9.-]{{0,{_MAX_PLAIN_NAME - 1}}}")
# Control characters would break logs and tags; the spec forbids them except tab and newline,
# https://github.com/container-storage-interface/spec/blob/v1.13.0/spec.md, "CreateVolumeRequest".
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


# A label's value (https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/).
_ZONE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")


def is_zone(text: str) -> bool:
    """Whether Kubernetes takes this for the value of a label, which a zone becomes."""
    return _ZONE.fullmatch(text) is not None


def check_name(name: str, of: str = "volume") -> None:
    """Raise InvalidArgument unless `name` is one that CSI allows: 1 to 128 bytes, no controls."""
    if not name:
        raise InvalidArgument(f"The {of} has no name: set `name` in the request.")
    if len(name.encode()) > _MAX_NAME_BYTES:
        raise InvalidArgument(
            f"The name of the {of} has {len(name.encode())} bytes; CSI allows {_MAX_NAME_BYTES}."
        )
    if _CONTROL.search(name):
        raise InvalidArgument(f"The name of the {of} has control characters, which CSI forbids.")


def volume_group_hash(volume_group_uuid: str) -> str:
    """The first part of the ids of all volumes in this volume group: 8 hexadecimal digits."""
    return hashlib.sha256(volume_group_uuid.encode()).hexdigest()[:8]


def volume_id(volume_group_uuid: str, name: str) -> str:
    """The id of the volume with the CSI name `name` in this volume group.

    It is the name of the logical volume too. It follows from the two alone, so that asking twice
    gives one volume, and it goes with the disks when they move to another server. Names that LVM,
    device-mapper or iSCSI would not take are replaced by a hash.
    """
    return f"{volume_group_hash(volume_group_uuid)}-{_id_part(name)}"


def snapshot_id(volume_group_uuid: str, name: str) -> str:
    """The id of the snapshot with the CSI name `name`: never that of a volume."""
    return f"{volume_group_hash(volume_group_uuid)}-{_SNAPSHOT_MARK}{_id_part(name)}"


def copy_name(volume: str) -> str:
    """The name of the snapshot of another volume that is taken to copy that into this one."""
    return f"copy.{volume}"


def copy_snapshot_id(source_volume: str, volume: str) -> str:
    """The id of that snapshot: it is in the volume group of its source."""
    return f"{source_volume[:_ID_PREFIX]}{_SNAPSHOT_MARK}{_id_part(copy_name(volume))}"


def id_in(volume_group_uuid: str, volume: str) -> str:
    """The id that the volume with this one would have in another volume group."""
    return f"{volume_group_hash(volume_group_uuid)}-{volume[_ID_PREFIX:]}"


def _id_part(name: str) -> str:
    plain = (
        _PLAIN_NAME.fullmatch(name) is not None
        and len(name) + name.count("-") <= _MAX_PLAIN_NAME
        and not name.startswith((_HASHED_MARK, _SNAPSHOT_MARK))
    )
    return name if plain else _HASHED_MARK + hashlib.sha256(name.encode()).hexdigest()[:40]


def is_snapshot_id(text: str) -> bool:
    """Whether this can be the id of a snapshot of ours."""
    return is_volume_id(text) and text[_ID_PREFIX:].startswith(_SNAPSHOT_MARK)


def is_volume_id(text: str) -> bool:
    """Whether this can be an id of ours, of a volume or snapshot. What cannot certainly is not."""
    return _VOLUME_ID.fullmatch(text) is not None


def device_mapper_name(volume_group: str, logical_volume: str) -> str:
    """The name below /dev/mapper: hyphens doubled, joined by one hyphen (lvm(8), "NOTES")."""
    return f"{volume_group.replace('-', '--')}-{logical_volume.replace('-', '--')}"


def target_iqn(volume: str, node: str = "") -> str:
    """The iSCSI target of a volume; where several nodes may have it, that of one of the nodes.

    A volume id has no colon, so the volume that a target is of can be told (`volume_of_target`).
    """
    if not node:
        return f"{IQN_PREFIX}:{volume}"
    name = f"{IQN_PREFIX}:{volume}:{node}"
    plain = (
        len(name) <= _MAX_IQN_BYTES
        and _PLAIN_NAME.fullmatch(node)
        and not node.startswith(_HASHED_MARK)
    )
    return name if plain else f"{IQN_PREFIX}:{volume}:{_HASHED_MARK}{_node_hash(node)}"


def volume_of_target(iqn: str) -> str:
    """The id of the volume that a target is of; empty where it is none of ours."""
    ours = f"{IQN_PREFIX}:"
    return iqn.removeprefix(ours).partition(":")[0] if iqn.startswith(ours) else ""


def initiator_iqn(node: str) -> str:
    """The initiator name of a node; hashed where it would be longer than an IQN may be.

    It follows from the node's name, not from the host's /etc/iscsi/initiatorname.iscsi, which
    cloned hosts share.
    """
    plain = f"{IQN_PREFIX}:node.{node.lower()}"
    if len(plain) <= _MAX_IQN_BYTES and re.fullmatch(r"[a-z0-9.:-]+", plain) and node.islower():
        return plain
    return f"{IQN_PREFIX}:node-hash.{_node_hash(node)}"


def serial(volume: str) -> str:
    """The SCSI serial number and id of a volume: 31 hexadecimal digits.

    tgt keeps 36 characters of it, but Linux identifies a disk by its NAA id, for which tgt takes
    the last 31 hexadecimal digits of scsi_id (fujita/tgt, usr/spc.c). A guest of QEMU sees the
    first 20.
    """
    return hashlib.sha256(volume.encode()).hexdigest()[:31]


def _node_hash(node: str) -> str:
    return hashlib.sha256(node.encode()).hexdigest()[:40]


def encode_tag(text: str) -> str:
    """Write any text in the alphabet of LVM tags, [A-Za-z0-9_+.-/=!:&#], which has no `%`."""
    return urllib.parse.quote(text, safe="").replace("~", "%7E").replace("%", "=")


def decode_tag(tag: str) -> str:
    """The text that `encode_tag` wrote."""
    return urllib.parse.unquote(tag.replace("=", "%"))
