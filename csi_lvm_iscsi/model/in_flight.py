"""At most one operation on a volume at a time."""

import contextlib
from collections.abc import Iterator

from csi_lvm_iscsi.model.errors import Busy


class InFlight:
    """The volumes that are being worked on. A second call is refused, not queued: CSI asks for
    ABORTED, and the sidecars and kubelet call again."""

    def __init__(self) -> None:
        self._held: dict[str, str] = {}

    @contextlib.contextmanager
    def hold(self, volume: str, operation: str) -> Iterator[None]:
        """Hold `volume` (an id or a name) for `operation`. Raises Busy where it is held."""
        running = self._held.get(volume)
        if running is not None:
            raise Busy(f"{running} of volume {volume} is still running; call again.")
        self._held[volume] = operation
        try:
            yield
        finally:
            del self._held[volume]
