"""Values: each documented, each checked."""

import json
from typing import Any

import jsonschema
import pytest

from tests.chart import values_table
from tests.chart.charts import CHART, EVERYTHING, LEAST, MINIMAL, helm

SCHEMA = json.loads((CHART / "values.schema.json").read_text())


def _merged(values: Any, over: Any) -> Any:  # noqa: ANN401
    if not (isinstance(values, dict) and isinstance(over, dict)):
        return over
    return {**values, **{key: _merged(values.get(key), value) for key, value in over.items()}}


@pytest.mark.parametrize("values", [{}, MINIMAL, EVERYTHING, LEAST])
def test_schema_takes_good_values(values: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(_merged(values_table.defaults(), values))


def _requests(memory: object) -> dict[str, Any]:
    return {"node": {"resources": {"requests": {"memory": memory}}}}


# https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
QUANTITIES = ["64Mi", "65536Ki", "1.5Gi", "1Ei", "64M", "128k", "100m", "1e6", "1E+3", ".5Gi", 0.5]
NO_QUANTITIES = ["lots", "", "64mi", "64ki", "64K", "64MB", "64 Mi", "-1", "1e", ".", "1.2.3"]


@pytest.mark.parametrize("memory", QUANTITIES)
def test_schema_takes_quantities_of_kubernetes(memory: object) -> None:
    over = _merged(_merged(values_table.defaults(), MINIMAL), _requests(memory))
    jsonschema.Draft202012Validator(SCHEMA).validate(over)


@pytest.mark.parametrize("memory", NO_QUANTITIES)
def test_schema_refuses_what_is_no_quantity(memory: str) -> None:
    over = _merged(_merged(values_table.defaults(), MINIMAL), _requests(memory))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(SCHEMA).validate(over)


def test_helm_takes_quantities_of_kubernetes() -> None:
    requests = {f"example.com/{number}": each for number, each in enumerate(QUANTITIES)}
    helm("template", str(CHART), values={**MINIMAL, "node": {"resources": {"requests": requests}}})


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("misspelt", {"storge": {}}, "additional properties 'storge' not allowed"),
    ("misspelt below", {"storage": {"thinpools": []}}, "additional properties 'thinpools'"),
    ("no network", {"storage": {"portalNetworks": ["10.77.0.0"]}}, "/storage/portalNetworks/0"),
    ("no pool", {"storage": {"thinPools": ["vg0"]}}, "/storage/thinPools/0"),
    ("pool as group", {"storage": {"thickVolumeGroups": ["vg0/pool"]}}, "/thickVolumeGroups/0"),
    ("percent", {"storage": {"stopAt": 120}}, "at '/storage/stopAt': maximum"),
    ("not zero", {"storage": {"extendBy": 0}}, "at '/storage/extendBy': exclusiveMinimum"),
    ("every node", {"storage": {"nodeSelector": "all"}}, "at '/storage/nodeSelector': got string"),
    ("a string", {"zones": "yes"}, "at '/zones': got string, want boolean"),
    ("tag in repository", {"image": {"repository": "r.io/x/y:v1"}}, "/image/repository"),
    ("digest", {"image": {"digest": "abc"}}, "at '/image/digest'"),
    ("no replicas", {"controller": {"replicas": 0}}, "/controller/replicas"),
    ("tgtd's limits", {"tgtd": {"resources": {"limits": {"memory": "1Gi"}}}}, "'limits'"),
    ("quantity", _requests("lots"), "/requests/memory"),
    ("parameter", {"storageClasses": {"a": {"parameters": {"pool": "x"}}}}, "'pool' not allowed"),
    ("file system", {"storageClasses": {"a": {"fsType": "btrfs"}}}, "'ext4', 'xfs'"),
    ("class name", {"storageClasses": {"A b": {}}}, "'A b' does not match"),
    ("relative", {"kubeletDir": "kubelet"}, "at '/kubeletDir'"),
]


@pytest.mark.parametrize(("values", "_"), [(bad, message) for _, bad, message in BAD])
def test_schema_refuses(values: dict[str, Any], _: str) -> None:
    over = _merged(_merged(values_table.defaults(), MINIMAL), values)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(SCHEMA).validate(over)


@pytest.mark.parametrize(("values", "message"), [(bad, message) for _, bad, message in BAD])
def test_helm_says_which_value_is_bad(values: dict[str, Any], message: str) -> None:
    output = helm("template", str(CHART), values=_merged(MINIMAL, values), expect=1)
    assert message in output


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "storage.portalNetworks is empty: set it to"),
        ({"storage": {"portalNetworks": ["10.0.0.0/8"]}}, "There is no place for volumes: set"),
        (
            {
                **MINIMAL,
                "storageClasses": {
                    "csi-lvm-iscsi-thin": {"default": True},
                    "mine": {"default": True},
                },
            },
            "csi-lvm-iscsi-thin, mine are all marked as default",
        ),
        (
            {"storage": {**MINIMAL["storage"], "stopAt": 60}},
            "storage.stopAt (60) is below storage.extendAt (70)",
        ),
    ],
)
def test_helm_says_what_is_missing(values: dict[str, Any], message: str) -> None:
    assert message in helm("template", str(CHART), values=values, expect=1)


@pytest.mark.parametrize("values", [{"stopAt": 70}, {"stopAt": 99.5, "extendAt": 100}])
def test_a_pool_may_stop_where_it_is_extended_or_never_is(values: dict[str, Any]) -> None:
    helm("template", str(CHART), values={"storage": {**MINIMAL["storage"], **values}})


def test_zones_need_a_kubernetes_that_has_them_in_pods() -> None:
    output = helm(
        "template", str(CHART), "--kube-version", "1.34.0",
        values={**MINIMAL, "zones": True}, expect=1,
    )  # fmt: skip
    assert "zones needs Kubernetes 1.35" in output


def test_every_object_of_the_schema_is_closed() -> None:
    """Else a misspelt value would be ignored. `global` is other charts' too."""

    def open_objects(schema: Any, path: str) -> list[str]:  # noqa: ANN401
        if not isinstance(schema, dict):
            return []
        is_open = "properties" in schema and schema.get("additionalProperties") is not False
        below = [
            each for key, value in schema.items() for each in open_objects(value, path + "/" + key)
        ]
        return [*([path] if is_open else []), *below]

    assert open_objects(SCHEMA, "") == ["/properties/global"]


def test_every_value_is_documented() -> None:
    paths = tuple(values_table.documented())
    missing = [
        leaf
        for leaf in values_table.leaves(values_table.defaults())
        if not any(leaf == path or leaf.startswith(path + ".") for path in paths)
    ]
    assert missing == []


def test_readme_has_the_table_of_values() -> None:
    """`make manifests` writes it."""
    assert (CHART / "README.md").read_text() == values_table.readme()
