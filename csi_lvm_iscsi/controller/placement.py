"""Where a new volume goes: rules over pools, without any I/O."""

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from csi_lvm_iscsi.model.parameters import Parameters
from csi_lvm_iscsi.model.volumes import Pool


@dataclass(frozen=True, slots=True)
class Reach:
    """The zones that a volume must be of, in so far as the CO says: those it prefers first.

    A storage host serves nodes of any zone over the network: its zone tells what is near, and what
    fails together.
    """

    preferred: tuple[str, ...] = ()
    requisite: tuple[str, ...] | None = None
    """None: any zone will do."""

    def allows(self, zone: str) -> bool:
        """Whether a volume can be in this zone."""
        return self.requisite is None or zone in self.requisite

    def rank(self, zone: str) -> int:
        """The place of a zone among those preferred: 0 is the best."""
        return self.preferred.index(zone) if zone in self.preferred else len(self.preferred)


ANYWHERE = Reach()


def allows(parameters: Parameters, host: str, pool: Pool) -> bool:
    """Whether the StorageClass lets a volume be made in this pool of this host."""
    return (
        bool(pool.thin_pool) == (parameters.provisioner == "thin")
        and parameters.storage_host in ("", host)
        and parameters.volume_group in ("", pool.volume_group)
        and parameters.thin_pool in ("", pool.thin_pool)
    )


class Underway:
    """The volumes that are being made: calls at the same time see the same free space, and would
    all go to one place."""

    def __init__(self) -> None:
        self._bytes: Counter[tuple[str, str]] = Counter()

    @contextlib.contextmanager
    def making(self, pool: Pool, size_bytes: int) -> Iterator[None]:
        """Count a volume of this size as being in the pool while the context lasts."""
        key = _key(pool)
        self._bytes[key] += size_bytes
        try:
            yield
        finally:
            self._bytes[key] -= size_bytes

    def free_order(self, host: str, pool: Pool) -> tuple[int, int, str, str]:
        """The place of a pool when pools are sorted, the one with most space first.

        What counts is the space not yet promised to volumes, then that not yet written: a thin
        volume takes nothing until it is written, so free space alone would send every new one to
        one host.
        """
        available = pool.available_bytes - self._bytes[_key(pool)]
        return (-available, -pool.free_bytes, host, pool.name)


def _key(pool: Pool) -> tuple[str, str]:
    return (pool.volume_group_uuid, pool.thin_pool)
