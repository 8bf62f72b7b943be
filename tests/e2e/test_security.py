"""Who may not: a client without a certificate, a node with another's publication."""

from collections.abc import Callable

import grpc
import pytest

from csi_lvm_iscsi.rpc.pb import storage_pb2, storage_pb2_grpc
from tests.e2e.driver import Driver, Refused
from tests.e2e.lab.csi import WITHOUT_PROXY
from tests.e2e.lab.lab import Lab

OPTIONS = [*WITHOUT_PROXY, ("grpc.ssl_target_name_override", "storage-1")]


def channels(lab: Lab) -> dict[str, grpc.Channel]:
    """Ways to the storage role that must not lead in."""
    address = f"{lab.host('storage-1').identity.data_address}:9740"
    config = lab.host("storage-1").config
    authority = (config / "tls/ca.crt").read_bytes()
    server = grpc.ssl_channel_credentials(
        authority, (config / "tls/tls.key").read_bytes(), (config / "tls/tls.crt").read_bytes()
    )
    return {
        "without TLS": grpc.insecure_channel(address, OPTIONS),
        "without a certificate": grpc.secure_channel(
            address, grpc.ssl_channel_credentials(authority), OPTIONS
        ),
        "with a server's certificate": grpc.secure_channel(address, server, OPTIONS),
    }


@pytest.mark.parametrize(
    "way", ["without TLS", "without a certificate", "with a server's certificate"]
)
def test_only_the_controllers_certificate_leads_in(lab: Lab, way: str) -> None:
    with channels(lab)[way] as channel, pytest.raises(grpc.RpcError) as caught:
        storage_pb2_grpc.StorageStub(channel).ListVolumes(
            storage_pb2.ListVolumesRequest(), timeout=10
        )
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


def test_a_publication_is_of_no_use_to_another_node(
    lab: Lab, driver: Driver, name: Callable[[], str]
) -> None:
    volume = driver.create(name())
    volume.contexts["compute-2"] = driver.publish(volume, "compute-1")
    with pytest.raises(Refused) as refused:
        driver.stage(volume, "compute-2")
    assert refused.value.code == "FAILED_PRECONDITION"
    shown = lab.host("compute-2").exec("sh", "-c", "ls /sys/class/iscsi_session").check().text
    assert shown == ""
    driver.unpublish(volume, "compute-1")
    driver.delete(volume)
