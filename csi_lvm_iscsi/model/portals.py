"""Portals: where a target is reached, written `10.77.0.11:3260` or `[fd77::11]:3260`."""

import ipaddress

PORT = 3260  # RFC 7143, 14: the one that firewalls know


def portal(address: str, port: int = PORT) -> str:
    """The portal at an IP address, in its one normal form. Raises ValueError for no address."""
    parsed = ipaddress.ip_address(address)
    return f"[{parsed}]:{port}" if parsed.version == 6 else f"{parsed}:{port}"


def everywhere(text: str) -> str:
    """The portal at all addresses of the same kind, as tgtd shows it."""
    return f"{'[::]' if text.startswith('[') else '0.0.0.0'}:{split(text)[1]}"  # noqa: S104


def split(text: str) -> tuple[str, int]:
    """Address, without brackets, and port. Raises ValueError for what is no portal."""
    address, _, port = text.rpartition(":")
    return address.strip("[]"), int(port)
