"""The record of what is staged on this node: written before the login, removed after the logout."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.model.access import Capability
from csi_lvm_iscsi.model.errors import NotFound
from csi_lvm_iscsi.model.publications import Publication


@dataclass(frozen=True, slots=True)
class Staged:
    """A volume that is staged, or was being staged when the role was killed. It holds no secret."""

    publication: Publication
    """Whose it is; it is asked for again where a call does not bring it."""

    boot_id: str
    """Of which boot of this host: sessions, devices and mounts of an earlier one are gone, and the
    device's name may be another's now."""

    staging_path: str
    file_system: str | None
    """None: raw block."""

    mount_flags: tuple[str, ...]

    read_only: bool
    """Whether nothing at all may be written to the disk."""

    device: str | None = None
    """The name of the disk, like sda; None until it was found and identified."""

    number: str | None = None
    """Its major:minor; None until then."""

    @classmethod
    def begin(
        cls, publication: Publication, staging_path: Path, capability: Capability, boot_id: str
    ) -> Self:
        """The record of a stage that begins."""
        return cls(
            publication=publication,
            boot_id=boot_id,
            staging_path=str(staging_path),
            file_system=capability.file_system,
            mount_flags=capability.mount_flags,
            read_only=capability.read_only or publication.read_only,
        )

    @property
    def way(self) -> str:
        """How it is staged, for messages."""
        return f"{self.file_system or 'raw block'}{', read-only' if self.read_only else ''}"


def encode(staged: Staged) -> Mapping[str, Any]:
    """To JSON."""
    return asdict(staged)


def decode(fields: dict[str, Any]) -> Staged:
    """From JSON. Raises TypeError or KeyError where it is not such a record."""
    publication = fields["publication"]
    portals = tuple(publication["portals"])
    return Staged(
        **{
            **fields,
            "publication": Publication(**{**publication, "portals": portals}),
            "mount_flags": tuple(fields["mount_flags"]),
        }
    )


def check_volume_id(volume: str) -> None:
    """Raise NotFound for what is no volume id of ours: it could be any file name.

    https://github.com/container-storage-interface/spec/blob/v1.13.0/spec.md, "NodeStageVolume
    Errors" and "NodePublishVolume Errors": volume does not exist.
    """
    if not names.is_volume_id(volume):
        raise NotFound(f"There is no volume {volume!r}: this is no volume id of this driver.")
