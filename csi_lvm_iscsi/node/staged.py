"""The record of what is staged on this node: written before the login, removed after the logout."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from csi_lvm_iscsi.model.access import Capability
from csi_lvm_iscsi.model.publications import Publication


@dataclass(frozen=True, slots=True)
class Staged:
    """A volume that is staged, or was being staged when the role was killed. It holds no secret."""

    target: str
    portals: tuple[str, ...]
    lun: int
    serial: str
    nonce: str
    key_id: str
    boot_id: str
    """Of which boot of this host: sessions, devices and mounts of an earlier one are gone, and the
    device's name may be another's now."""

    staging_path: str
    file_system: str | None
    """None: raw block."""

    mount_flags: tuple[str, ...]

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
            target=publication.target,
            portals=publication.portals,
            lun=publication.lun,
            serial=publication.serial,
            nonce=publication.nonce,
            key_id=publication.key_id,
            boot_id=boot_id,
            staging_path=str(staging_path),
            file_system=capability.file_system,
            mount_flags=capability.mount_flags,
        )


def encode(staged: Staged) -> Mapping[str, Any]:
    """To JSON."""
    return asdict(staged)


def decode(fields: dict[str, Any]) -> Staged:
    """From JSON. Raises TypeError or KeyError where it is not such a record."""
    lists = {name: tuple(fields[name]) for name in ("portals", "mount_flags")}
    return Staged(**{**fields, **lists})
