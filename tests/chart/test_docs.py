"""docs/parameters.md has all parameters, and what it shows works."""

import re
from typing import Any

import yaml

from csi_lvm_iscsi.model import parameters
from tests.chart.charts import ROOT

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
