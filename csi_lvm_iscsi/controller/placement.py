"""Where a new volume goes."""

from collections.abc import Iterable

from csi_lvm_iscsi.model.volumes import Capacity


def most_free_first(capacities: Iterable[Capacity]) -> list[Capacity]:
    """Order hosts by the space not yet promised to volumes, then by the space not yet written.

    A thin volume takes nothing until it is written, so free space alone would send every new
    volume to the same host.
    """
    return sorted(
        capacities,
        key=lambda capacity: (-capacity.unpromised_bytes, -capacity.free_bytes, capacity.host),
    )
