"""The definitions of our objects that the chart renders."""

from typing import Any

import pytest

from csi_lvm_iscsi.operator.hotplug.reasons import Phase
from tests.chart.charts import MINIMAL, find, rendered

Objects = list[dict[str, Any]]


@pytest.fixture(scope="module")
def minimal() -> Objects:
    return rendered(MINIMAL)


def test_the_storage_node_api_is_upgraded_and_kept(minimal: Objects) -> None:
    crd = find(minimal, "CustomResourceDefinition", "storagenodes.csi-lvm-iscsi.github.io")
    assert crd["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    (version,) = crd["spec"]["versions"]
    columns = [
        each["name"] for each in version["additionalPrinterColumns"] if not each.get("priority")
    ]
    assert columns == [
        "Ready", "Reason", "Schedulable", "Capacity", "Free", "Used", "Volumes", "Version", "Age",
    ]  # fmt: skip


def test_the_volume_hotplug_api_is_upgraded_and_kept(minimal: Objects) -> None:
    crd = find(minimal, "CustomResourceDefinition", "volumehotplugs.csi-lvm-iscsi.github.io")
    assert crd["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert crd["spec"]["names"]["shortNames"] == ["vhp"]
    assert crd["spec"]["scope"] == "Namespaced"


def test_the_status_has_the_words_of_the_code(minimal: Objects) -> None:
    crd = find(minimal, "CustomResourceDefinition", "volumehotplugs.csi-lvm-iscsi.github.io")
    status = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]
    assert set(status["properties"]["phase"]["enum"]) == set(Phase)


@pytest.mark.parametrize("is_aggregated", [True, False])
def test_who_has_the_clusters_roles_may_make_volume_hotplugs_unless_told_otherwise(
    *, is_aggregated: bool
) -> None:
    """With them one edits virtual machines, which KubeVirt may give to others."""
    objects = rendered({**MINIMAL, "aggregateRoles": is_aggregated})
    for name, roles in {"edit": ["admin", "edit"], "view": ["admin", "edit", "view"]}.items():
        found = find(objects, "ClusterRole", f"csi-lvm-iscsi-volumehotplugs-{name}")
        prefix = "rbac.authorization.k8s.io/aggregate-to-"
        given = [each.removeprefix(prefix) for each in found["metadata"]["labels"]]
        assert [each for each in roles if each in given] == (roles if is_aggregated else [])


@pytest.mark.parametrize("plural", ["storagenodes", "volumehotplugs"])
def test_every_field_is_described(minimal: Objects, plural: str) -> None:
    crd = find(minimal, "CustomResourceDefinition", f"{plural}.csi-lvm-iscsi.github.io")

    def undescribed(schema: dict[str, Any], path: str) -> list[str]:
        below = {**schema.get("properties", {})}
        found = [f"{path}.{name}" for name, each in below.items() if not each.get("description")]
        for name, each in below.items():
            found += undescribed(each, f"{path}.{name}")
        return found + (undescribed(schema["items"], path) if "items" in schema else [])

    assert undescribed(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"], "") == []
