"""Names and addresses of the lab's hosts."""

import pytest

from tests.e2e.lab.topology import MAX_HOSTS, HostName, Kind, mac_address


def test_name_gives_addresses() -> None:
    host = HostName.parse("compute-2")
    assert host == HostName("compute", 2)
    assert host.data_address == "10.77.0.102"
    assert host.data6_address == "fd77::102"
    assert host.data2_address == "10.79.0.102"
    assert host.management_address == "10.78.0.102"


@pytest.mark.parametrize("text", ["storage", "storage-0", "compute-01", "node-1", "storage-1 "])
def test_other_names_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="storage-N or compute-N"):
        HostName.parse(text)


@pytest.mark.parametrize("kind", ["storage", "compute"])
def test_the_last_host_still_fits(kind: Kind) -> None:
    host = HostName(kind, MAX_HOSTS[kind])
    assert HostName.parse(str(host)) == host
    assert host.last_octet < 255
    for tap in (host.data_tap, host.data2_tap, host.management_tap):
        assert len(tap) <= 15  # the kernel's limit for an interface's name


def test_storage_and_compute_addresses_are_apart() -> None:
    last_storage = HostName("storage", MAX_HOSTS["storage"])
    assert last_storage.last_octet < HostName("compute", 1).last_octet


def test_mac_address_is_local_and_unicast() -> None:
    assert mac_address("10.77.0.101") == "02:00:0a:4d:00:65"
