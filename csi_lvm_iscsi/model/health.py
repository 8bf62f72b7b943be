"""What can be wrong with a volume on a node."""

import enum
from dataclasses import dataclass


class Kind(enum.Enum):
    """How bad it is: the names of CSI's VolumeHealthErrorType."""

    DEGRADED = "DEGRADED"
    """It works, but not as it should."""

    INACCESSIBLE = "INACCESSIBLE"
    """It cannot be used from this node."""

    DATA_LOSS = "DATA_LOSS"
    """Data is lost, or may be."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that is wrong."""

    kind: Kind
    reason: str
    """In CamelCase, for machines."""

    message: str
    """What it is and what to do, in sentences."""
