"""Identity before use: a wrong disk is never used, one with a signature never formatted."""

import contextlib
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.driver import Driver, Refused
from tests.e2e.lab.host import Host
from tests.e2e.lab.lab import Lab
from tests.e2e.test_recovery import storage_of

SWAP = """
tid() { tgtadm --mode target --op show | sed -n "s/^Target \\([0-9]*\\): .*:$1$/\\1/p"; }
serve() {  # TID PATH SERIAL
    tgtadm --lld iscsi --mode logicalunit --op delete --tid "$1" --lun 1
    tgtadm --lld iscsi --mode logicalunit --op new --tid "$1" --lun 1 -b "$2"
    tgtadm --lld iscsi --mode logicalunit --op update --tid "$1" --lun 1 \\
        --params "scsi_sn=$3,scsi_id=$3,vendor_id=CSILVM,product_id=VOLUME"
}
set -e
serve "$(tid "$1")" "/dev/vg0/$2" "$4"
serve "$(tid "$2")" "/dev/vg0/$1" "$3"
"""


@contextlib.contextmanager
def unattended(storage: Host) -> Iterator[None]:
    """The storage role stands still: the comparison of each minute would put the LUNs right."""
    storage.exec("pkill", "-STOP", "-f", "csi_lvm_iscsi storage").check()
    try:
        yield
    finally:
        storage.exec("pkill", "-CONT", "-f", "csi_lvm_iscsi storage").check()


def test_two_luns_swapped_behind_the_drivers_back(
    lab: Lab, driver: Driver, name: Callable[[], str]
) -> None:
    volumes = [driver.create(name(), block=False, storageHost="storage-1") for _ in range(2)]
    first, second = volumes
    serials = [driver.publish(each, "compute-1")["serial"] for each in volumes]
    storage = lab.host("storage-1")
    with unattended(storage):
        storage.exec("bash", "-c", SWAP, "bash", first.id, second.id, *serials).check()
        with pytest.raises(Refused) as refused:
            driver.stage(first, "compute-1")
    assert refused.value.code == "FAILED_PRECONDITION"
    assert "another disk" in refused.value.message
    for volume in volumes:
        header = storage.exec("head", "-c", "65536", f"/dev/vg0/{volume.id}").check().stdout
        assert header == bytes(65536), "a disk that is not the volume's was written to"
    # Published anew, each target serves its own volume again.
    for volume in volumes:
        driver.unpublish(volume, "compute-1")
        driver.attach(volume, "compute-1")
        driver.detach(volume, "compute-1")
    for volume in volumes:
        driver.delete(volume)


def test_two_luns_swapped_under_live_sessions(
    lab: Lab, driver: Driver, name: Callable[[], str]
) -> None:
    """What the kernel learnt of a disk at its scan is no proof: it is asked again before use."""
    volumes = [driver.create(name(), storageHost="storage-1") for _ in range(2)]
    first, second = volumes
    serials = [driver.publish(each, "compute-1")["serial"] for each in volumes]
    for volume in volumes:
        driver.stage(volume, "compute-1")
    storage = lab.host("storage-1")
    with unattended(storage):
        storage.exec("bash", "-c", SWAP, "bash", first.id, second.id, *serials).check()
        with pytest.raises(Refused) as refused:
            driver.publish_to_pod(first, "compute-1")
    assert refused.value.code == "FAILED_PRECONDITION"
    assert "serial number" in refused.value.message
    for volume in volumes:
        driver.unstage(volume, "compute-1")
        driver.unpublish(volume, "compute-1")
    for volume in volumes:
        driver.delete(volume)


@pytest.mark.parametrize(
    "sign",
    ["mkfs.xfs -q {0} -d size=300m",
     "pvcreate -q --config 'devices {{ scan_lvs=1 global_filter=[\"a|.*|\"] }}' {0}",
     "mkswap {0}",
     "echo 'label: gpt' | sfdisk -q {0}"],
    ids=["xfs", "lvm", "swap", "gpt"],
)  # fmt: skip
def test_a_disk_with_a_signature_is_never_formatted(
    lab: Lab, driver: Driver, name: Callable[[], str], sign: str
) -> None:
    volume = driver.create(name(), block=False, size=512 << 20)
    storage = storage_of(lab, volume)
    device = f"/dev/vg0/{volume.id}"
    command = f"{sign.format(device)} && sync && sha256sum {device}"
    before = storage.exec("sh", "-c", command).check().text.split()[-2]
    driver.publish(volume, "compute-1")
    with pytest.raises(Refused) as refused:
        driver.stage(volume, "compute-1")
    assert refused.value.code == "FAILED_PRECONDITION"
    driver.unstage(volume, "compute-1")
    driver.unpublish(volume, "compute-1")
    assert storage.exec("sha256sum", device).check().text.split()[0] == before
    driver.delete(volume)
