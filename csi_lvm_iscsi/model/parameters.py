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


@dataclass(frozen=True, slots=True)
class Parameters:
    """What CreateVolume was told beside name and size."""

    provisioner: str
    origin: Mapping[str, str]

    @classmethod
    def parse(cls, given: Mapping[str, str]) -> Self:
        """Read the parameters. Raises InvalidArgument, naming the known ones, for an unknown one:
        a misspelt parameter that is ignored is found out when it is too late."""
        known = ["provisioner", *ORIGINS]
        for key in sorted(given):
            if key not in known:
                raise InvalidArgument(
                    f"Parameter {key} of the StorageClass is unknown; known are {', '.join(known)}."
                )
        provisioner = given.get("provisioner", "thin")
        if provisioner not in PROVISIONERS:
            raise InvalidArgument(
                f"Parameter provisioner is {provisioner!r}; it must be one of "
                f"{', '.join(PROVISIONERS)}."
            )
        return cls(provisioner, {ORIGINS[key]: given[key] for key in ORIGINS if key in given})
