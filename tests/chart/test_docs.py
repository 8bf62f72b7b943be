"""docs/parameters.md has all parameters, and what it shows works."""

import re
from typing import Any

import yaml

from csi_lvm_iscsi.model import parameters
from csi_lvm_iscsi.operator.hotplug.reasons import Reason
from tests.chart.charts import CHART, ROOT

_PAGE = (ROOT / "docs/parameters.md").read_text()


def _examples() -> list[dict[str, Any]]:
    blocks = re.findall(r"^```yaml\n(.*?)^```", _PAGE, re.MULTILINE | re.DOTALL)
    return [each for block in blocks for each in yaml.safe_load_all(block)]


def test_every_parameter_is_there() -> None:
    for name in parameters._KNOWN:
        assert f"`{name}`" in _PAGE, name
    for provisioner in parameters.PROVISIONERS:
        assert f"`{provisioner}`" in _PAGE


def test_no_parameter_is_made_up() -> None:
    table = re.findall(
        r"^\| `([A-Za-z./0-9]+)` \|",
        _PAGE.partition("## StorageClass")[2].partition("\n## ")[0],
        re.MULTILINE,
    )
    assert set(table) == {*parameters._KNOWN, "csi.storage.k8s.io/fstype"}


def test_the_driver_takes_the_examples() -> None:
    classes = [each for each in _examples() if each["kind"] == "StorageClass"]
    assert classes
    for each in classes:
        given = dict(each.get("parameters", {}))
        given.pop("csi.storage.k8s.io/fstype", None)
        parameters.Parameters.parse(given)
        assert each["provisioner"] == "csi-lvm-iscsi.github.io"


def test_every_reason_of_a_volume_hotplug_has_its_advice() -> None:
    page = (ROOT / "docs/hotplug.md").read_text()
    told = set(re.findall(r"`([A-Za-z]+)`", page.partition("### Reasons")[2]))
    assert set(Reason) <= told


def test_the_example_of_a_volume_hotplug_has_fields_of_the_api() -> None:
    page = (ROOT / "docs/hotplug.md").read_text()
    (example,) = re.findall(r"<<'END'\n(.*?)^END$", page, re.MULTILINE | re.DOTALL)
    (version,) = yaml.safe_load((CHART / "files/volumehotplug-v1alpha1.yaml").read_text())
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    assert set(yaml.safe_load(example)["spec"]) <= set(spec)
    fields = set(re.findall(r"`(\w+)`", page.partition("## Detach")[0]))
    assert set(spec) <= fields
