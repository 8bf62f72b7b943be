"""A publication: the right of one node to log in to one volume's target."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from csi_lvm_iscsi.model.errors import InvalidArgument

LUN = 1  # tgt keeps LUN 0 for the controller of each target


@dataclass(frozen=True, slots=True)
class Publication:
    """What a node needs to log in, beside the key that it holds itself.

    On its way through the API it is ControllerPublishVolumeResponse.publish_context, a map of
    strings. It holds no secret: the password is derived from the key (`model.chap`).
    """

    volume_id: str
    node_id: str
    target: str
    portals: tuple[str, ...]
    lun: int
    serial: str
    size_bytes: int
    nonce: str
    key_id: str
    read_only: bool = False
    """Whether the target refuses all writes."""

    def to_context(self) -> dict[str, str]:
        """The publish_context. Volume and node are not in it: the request names them."""
        return {
            "target": self.target,
            "portals": ",".join(self.portals),
            "lun": str(self.lun),
            "serial": self.serial,
            "size": str(self.size_bytes),
            "nonce": self.nonce,
            "keyId": self.key_id,
            "readOnly": str(self.read_only).lower(),
        }

    @classmethod
    def from_context(cls, volume_id: str, node_id: str, context: Mapping[str, str]) -> Self:
        """Read a publish_context. Raises InvalidArgument where something is missing."""
        try:
            return cls(
                volume_id=volume_id,
                node_id=node_id,
                target=context["target"],
                portals=tuple(context["portals"].split(",")),
                lun=int(context["lun"]),
                serial=context["serial"],
                size_bytes=int(context["size"]),
                nonce=context["nonce"],
                key_id=context["keyId"],
                read_only=context["readOnly"] == "true",
            )
        except (KeyError, ValueError) as error:
            raise InvalidArgument(
                f"The publish_context is not one of this driver ({error!r}): call "
                "ControllerPublishVolume and pass its publish_context on unchanged."
            ) from error
