"""docs/parameters.md has all parameters, and what the pages show works."""

import json
import os
import re
import subprocess
from typing import Any

import yaml

from csi_lvm_iscsi.model import parameters
from csi_lvm_iscsi.operator.hotplug.reasons import Reason
from tests.chart import cluster
from tests.chart.charts import CHART, NAMESPACE, ROOT, binary

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


def test_the_server_takes_the_network_policy(installed: cluster.Cluster) -> None:
    page = (ROOT / "docs/networking.md").read_text()
    (policy,) = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    strictly = ("--dry-run=server", "--validate=strict", "--filename=-")
    assert "created" in installed.kubectl("create", *strictly, stdin=policy)


def test_the_rotation_of_the_chap_key_as_it_is_shown(installed: cluster.Cluster) -> None:
    """It makes a Job of bootstrap. Nothing runs it here."""
    page = (ROOT / "docs/security.md").read_text()
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```", page, re.MULTILINE | re.DOTALL)
    (script,) = [each for each in blocks if "--last-chap-key" in each]
    kubectl = binary("kubectl")
    assert kubectl
    environment = os.environ | {
        "KUBECONFIG": str(installed.kubeconfig),
        "PATH": f"{kubectl.parent}:{os.environ['PATH']}",
    }
    subprocess.run(["sh", "-ec", script], env=environment, check=True, timeout=60)
    job = json.loads(installed.kubectl("-n", NAMESPACE, "get", "job/rotate-k2", "-o", "json"))
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["args"][-1] == "--last-chap-key=k2"
    installed.kubectl("-n", NAMESPACE, "delete", "job/rotate-k2")


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
