"""Portals that cannot be opened do not keep the others closed."""

from typing import Any

from structlog.testing import capture_logs

from csi_lvm_iscsi.storage.exports import Exports
from csi_lvm_iscsi.storage.fencing import Fence
from csi_lvm_iscsi.storage.tgt.socket import Mode, Op, TgtError
from csi_lvm_iscsi.storage.tgt.target import Tgtd

INVALID_REQUEST = 17  # what tgtd 1.0.85 answers where it cannot bind (tgt_portal_create)


class Portals:
    """A tgtd that cannot listen on one address."""

    def __init__(self, listening: str, refused: str) -> None:
        self.listening = listening
        self.refused = refused

    async def request(self, mode: Mode, op: Op, parameters: str = "", **numbers: Any) -> str:  # noqa: ANN401
        del numbers
        assert mode is Mode.PORTAL
        if op is Op.SHOW:
            return self.listening
        if parameters == f"portal={self.refused}":
            raise TgtError("NEW PORTAL", INVALID_REQUEST)
        return ""


def exports(tgtd: Portals) -> Exports:
    management = Tgtd(tgtd)
    return Exports(management, Fence(management), ["192.0.2.1:3260", "192.0.2.2:3260"], {})


async def test_a_portal_that_cannot_be_opened_is_logged_and_passed_over() -> None:
    with capture_logs() as logs:
        opened = await exports(Portals("", refused="192.0.2.1:3260")).open_portals()
    assert opened == ["192.0.2.2:3260"]
    assert logs[0]["portal"] == "192.0.2.1:3260"


async def test_a_tgtd_that_listens_everywhere_is_left_so() -> None:
    tgtd = Portals("Portal: 0.0.0.0:3260,1\nPortal: [::]:3260,1\n", refused="")
    assert await exports(tgtd).open_portals() == []
