"""Where a new volume goes."""

from csi_lvm_iscsi.model.volumes import Capacity


def free_order(capacity: Capacity) -> tuple[int, int, str]:
    """The place of a host when hosts are sorted, the one with most free space first.

    What counts is the space not yet promised to volumes, then that not yet written: a thin volume
    takes nothing until it is written, so free space alone would send every new one to one host.
    """
    return (-capacity.unpromised_bytes, -capacity.free_bytes, capacity.host)
