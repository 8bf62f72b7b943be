"""The portals of this host: its addresses within the networks that were named."""

import ipaddress
from collections.abc import Callable, Iterable, Sequence

import structlog

from csi_lvm_iscsi.model import portals
from csi_lvm_iscsi.model.errors import Unavailable
from csi_lvm_iscsi.storage.addresses import Address, addresses

_log = structlog.get_logger()
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Portals:
    """Where tgtd is to listen. Read anew now and then, as an interface may come up later."""

    def __init__(
        self,
        networks: Sequence[Network],
        read: Callable[[], Iterable[Address]] = addresses,
    ) -> None:
        self._networks = tuple(networks)
        self._read = read
        self._known: tuple[str, ...] = ()

    def refresh(self) -> tuple[str, ...]:
        """Read the addresses of the host, and return the portals: in the order of the networks,
        and within one by address, so that the order never changes by itself."""
        present = sorted(set(self._read()), key=lambda address: (address.version, address))
        found = tuple(
            dict.fromkeys(
                portals.portal(str(address))
                for network in self._networks
                for address in present
                if address in network
            )
        )
        if found != self._known or not found:
            _log.info("portals", portals=found) if found else _log.error(self._none())
        self._known = found
        return found

    def known(self) -> tuple[str, ...]:
        """The portals as last read. Raises Unavailable where there is none."""
        if not self._known:
            raise Unavailable(self._none())
        return self._known

    def _none(self) -> str:
        networks = ", ".join(map(str, self._networks))
        return (
            f"The storage host has no address within {networks}: bring up the interface that has "
            "it, or correct the role's option --portal-network. It is looked for each minute."
        )
