"""Which portals a storage host has, and that one that cannot be opened closes no other."""

import ipaddress
from typing import Any

import pytest
from structlog.testing import capture_logs

from csi_lvm_iscsi.model.errors import Unavailable
from csi_lvm_iscsi.storage.addresses import Address, addresses
from csi_lvm_iscsi.storage.exports import Exports
from csi_lvm_iscsi.storage.fencing import Fence
from csi_lvm_iscsi.storage.portals import Portals
from csi_lvm_iscsi.storage.tgt.socket import Mode, Op, TgtError
from csi_lvm_iscsi.storage.tgt.target import Tgtd

INVALID_REQUEST = 17  # what tgtd 1.0.85 answers where it cannot bind (tgt_portal_create)


class Listening:
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


def portals(*texts: str) -> Portals:
    """Those of a host with these addresses."""
    networks = [ipaddress.ip_network(text) for text in ("192.0.2.0/24", "2001:db8::/32")]
    return Portals(networks, lambda: _parsed([*texts]))


def exports(tgtd: Listening, *texts: str) -> Exports:
    management = Tgtd(tgtd)
    return Exports(management, Fence(management), portals(*texts), {})


async def test_a_portal_that_cannot_be_opened_is_logged_and_passed_over() -> None:
    tgtd = Listening("", refused="192.0.2.1:3260")
    with capture_logs() as logs:
        opened = await exports(tgtd, "192.0.2.2", "192.0.2.1").open_portals()
    assert opened == ["192.0.2.2:3260"]
    (error,) = [entry for entry in logs if entry["log_level"] == "error"]
    assert error["portal"] == "192.0.2.1:3260"


async def test_a_tgtd_that_listens_everywhere_is_left_so() -> None:
    tgtd = Listening("Portal: 0.0.0.0:3260,1\nPortal: [::]:3260,1\n", refused="")
    assert await exports(tgtd, "192.0.2.1", "2001:db8::1").open_portals() == []


async def test_an_address_that_comes_later_becomes_a_portal() -> None:
    present = ["198.51.100.1"]
    management = Tgtd(Listening("", refused=""))
    found = Portals([ipaddress.ip_network("192.0.2.0/24")], lambda: _parsed(present))
    exports = Exports(management, Fence(management), found, {})
    with capture_logs() as logs:
        assert await exports.open_portals() == []
    assert "no address within 192.0.2.0/24: bring up the interface" in logs[0]["event"]
    with pytest.raises(Unavailable, match="no address within"):
        found.known()
    present.append("192.0.2.1")
    assert await exports.open_portals() == ["192.0.2.1:3260"]
    assert found.known() == ("192.0.2.1:3260",)


def test_portals_have_one_order_whatever_that_of_the_addresses() -> None:
    texts = ["2001:db8::b", "192.0.2.10", "2001:DB8:0::a", "192.0.2.9", "127.0.0.1"]
    ordered = ("192.0.2.9:3260", "192.0.2.10:3260", "[2001:db8::a]:3260", "[2001:db8::b]:3260")
    assert portals(*texts).refresh() == ordered
    assert portals(*reversed(texts)).refresh() == ordered


def test_the_kernel_tells_the_addresses() -> None:
    assert ipaddress.ip_address("127.0.0.1") in addresses()


def _parsed(texts: list[str]) -> list[Address]:
    return [ipaddress.ip_address(text) for text in texts]
