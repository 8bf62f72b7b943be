"""What a StorageClass may say."""

import pytest

from csi_lvm_iscsi.model.errors import InvalidArgument
from csi_lvm_iscsi.model.parameters import Parameters


def test_a_storage_class_without_parameters_is_thin_and_anywhere() -> None:
    assert Parameters.parse({}) == Parameters("thin", {})


def test_all_parameters() -> None:
    given = {
        "provisioner": "thin",
        "storageHost": "storage-1",
        "volumeGroup": "vg0",
        "thinPool": "pool",
        "csi.storage.k8s.io/pvc/name": "data",
    }
    parameters = Parameters.parse(given)
    assert parameters == Parameters("thin", {"pvc": "data"}, "storage-1", "vg0", "pool")
    assert str(parameters) == "thin, storageHost storage-1, volumeGroup vg0, thinPool pool"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"thinpool": "pool"}, "thinpool of the StorageClass is unknown; known are provisioner,"),
        ({"provisioner": "raid"}, "must be one of thin, thick"),
        ({"provisioner": "thick", "thinPool": "pool"}, "thick volumes are in no pool: remove it"),
    ],
)
def test_what_is_refused(given: dict[str, str], told: str) -> None:
    with pytest.raises(InvalidArgument, match=told):
        Parameters.parse(given)
