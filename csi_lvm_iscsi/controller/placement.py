"""Where a new volume goes."""

from csi_lvm_iscsi.model.volumes import Pool


def free_order(host: str, pool: Pool) -> tuple[int, int, str, str]:
    """The place of a pool when pools are sorted, the one with most space first.

    What counts is the space not yet promised to volumes, then that not yet written: a thin volume
    takes nothing until it is written, so free space alone would send every new one to one host.
    """
    return (-pool.available_bytes, -pool.free_bytes, host, pool.name)
