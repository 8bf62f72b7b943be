from dataclasses import asdict

import pytest

from csi_lvm_iscsi.model import chap
from csi_lvm_iscsi.model.errors import InvalidArgument
from csi_lvm_iscsi.model.parameters import Parameters
from csi_lvm_iscsi.model.publications import Publication

PUBLICATION = Publication(
    volume_id="b50993d2-pvc-1",
    node_id="compute-1",
    target="iqn.2026-11.io.github.csi-lvm-iscsi:b50993d2-pvc-1",
    portals=("10.77.0.11:3260", "[fd00::11]:3260"),
    lun=1,
    serial="7ab1b9ab92c525aede34dea261debce",
    size_bytes=1 << 30,
    nonce="935a68e827387aae",
    key_id="k1",
)


def test_a_publication_goes_through_the_api_unchanged() -> None:
    context = PUBLICATION.to_context()
    assert Publication.from_context("b50993d2-pvc-1", "compute-1", context) == PUBLICATION


def test_the_api_sees_no_secret() -> None:
    key = b"the cluster's key"
    password = chap.password(key, PUBLICATION.volume_id, PUBLICATION.node_id, PUBLICATION.nonce)
    assert password not in str(PUBLICATION.to_context())
    assert "password" not in asdict(PUBLICATION)


@pytest.mark.parametrize("missing", sorted(PUBLICATION.to_context()))
def test_a_context_that_lacks_something(missing: str) -> None:
    context = {key: value for key, value in PUBLICATION.to_context().items() if key != missing}
    with pytest.raises(InvalidArgument, match=missing):
        Publication.from_context("b50993d2-pvc-1", "compute-1", context)


def test_passwords_differ_by_key_volume_node_and_nonce() -> None:
    variants = {
        chap.password(key, volume, node, nonce)
        for key in (b"1", b"2")
        for volume in ("a", "ab")
        for node in ("bc", "c")
        for nonce in ("x", "y")
    }
    assert len(variants) == 16


def test_chap_users_begin_with_a_letter_and_tell_their_volume() -> None:
    user = chap.user("b50993d2-pvc-1", chap.new_nonce())
    assert user[0].isalpha()
    assert user.startswith(chap.user_prefix("b50993d2-pvc-1"))
    assert chap.is_user(user)
    assert not chap.is_user("admin")


def test_unknown_parameters_are_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidArgument, match=r"provisionr.*known are provisioner"):
        Parameters.parse({"provisionr": "thin"})


def test_what_the_provisioner_adds_becomes_the_origin() -> None:
    given = {"csi.storage.k8s.io/pvc/name": "data", "csi.storage.k8s.io/pvc/namespace": "shop"}
    assert Parameters.parse(given).origin == {"pvc": "data", "namespace": "shop"}
