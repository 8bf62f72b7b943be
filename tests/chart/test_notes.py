"""What helm tells who has installed the chart, without a cluster. With one: test_cluster.py."""

import re
from typing import Any

import pytest

from tests.chart.charts import CHART, LEAST, MINIMAL, NAMESPACE, helm

_THICK = {"portalNetworks": ["10.77.0.0/24"], "thickVolumeGroups": ["vg2"]}


def _notes(values: dict[str, Any]) -> str:
    output = helm(
        "install", CHART.name, str(CHART), "--namespace", NAMESPACE, "--dry-run=client",
        values=values,
    )  # fmt: skip
    return output.partition("\nNOTES:\n")[2]


@pytest.mark.parametrize(
    ("values", "name"),
    [
        (MINIMAL, "csi-lvm-iscsi-thin"),
        ({"storage": _THICK}, "csi-lvm-iscsi-thick"),
        ({**MINIMAL, "storageClasses": {"zeta": {"default": True, "fsType": "xfs"}}}, "zeta"),
        (
            {"storage": _THICK, "storageClasses": {"csi-lvm-iscsi-thin": {"default": True}}},
            "csi-lvm-iscsi-thick",
        ),
    ],
)
def test_the_first_claim_is_of_a_class_that_can_make_it(values: dict[str, Any], name: str) -> None:
    assert re.findall(r"storageClassName: (.*)", _notes(values)) == [name]


def test_without_such_a_class_there_is_no_claim() -> None:
    assert "kubectl get storagenodes" in _notes(LEAST)
    assert "PersistentVolumeClaim" not in _notes(LEAST)
