"""The parameters of a StorageClass."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from csi_lvm_iscsi.model.errors import InvalidArgument

PROVISIONERS = ("thin", "thick")
# Added by external-provisioner --extra-create-metadata; kept as tags on the logical volume.
ORIGINS = {
    "csi.storage.k8s.io/pv/name": "pv",
    "csi.storage.k8s.io/pvc/name": "pvc",
    "csi.storage.k8s.io/pvc/namespace": "namespace",
}
_KNOWN = ("provisioner", "storageHost", "volumeGroup", "thinPool", *ORIGINS)


@dataclass(frozen=True, slots=True)
class Parameters:
    """What CreateVolume was told beside name and size."""

    provisioner: str
    origin: Mapping[str, str]
    storage_host: str = ""
    volume_group: str = ""
    thin_pool: str = ""
    """Where volumes are made; empty: anywhere."""

    @classmethod
    def parse(cls, given: Mapping[str, str]) -> Self:
        """Read the parameters. Raises InvalidArgument, naming the known ones, for an unknown one:
        a misspelt parameter that is ignored is found out when it is too late."""
        for key in sorted(given):
            if key not in _KNOWN:
                raise InvalidArgument(
                    f"Parameter {key} of the StorageClass is unknown; known are "
                    f"{', '.join(_KNOWN)}."
                )
        provisioner = given.get("provisioner", "thin")
        if provisioner not in PROVISIONERS:
            raise InvalidArgument(
                f"Parameter provisioner is {provisioner!r}; it must be one of "
                f"{', '.join(PROVISIONERS)}."
            )
        if provisioner == "thick" and given.get("thinPool"):
            raise InvalidArgument(
                f"Parameter thinPool is {given['thinPool']!r}, but thick volumes are in no pool: "
                "remove it, or set provisioner to thin."
            )
        return cls(
            provisioner,
            {ORIGINS[key]: given[key] for key in ORIGINS if key in given},
            given.get("storageHost", ""),
            given.get("volumeGroup", ""),
            given.get("thinPool", ""),
        )

    def __str__(self) -> str:
        """As a user reads it: `thin, storageHost storage-1`."""
        where = {
            "storageHost": self.storage_host,
            "volumeGroup": self.volume_group,
            "thinPool": self.thin_pool,
        }
        return ", ".join(
            [self.provisioner, *(f"{key} {text}" for key, text in where.items() if text)]
        )
