"""What the pages say of the manifests is so: privileges, rights, ports, what stays."""

from __future__ import annotations

import itertools
import re
from typing import Any

from csi_lvm_iscsi.model import names
from tests.unit.pages.reading import objects, table


def test_what_stays_after_an_uninstall_is_told() -> None:
    told = " ".join(first for first, _ in table("install.md", "what"))
    how = " ".join(last for _, last in table("install.md", "what"))
    (bootstrap,) = [
        each for each in objects("Role") if each["metadata"]["name"] == "csi-lvm-iscsi-bootstrap"
    ]
    for rule in bootstrap["rules"]:
        for secret in rule.get("resourceNames", ()):
            assert f"`{secret}`" in told
    for crd in objects("CustomResourceDefinition"):
        annotations = crd["metadata"]["annotations"]
        assert annotations["helm.sh/resource-policy"] == "keep"
        assert f"kubectl delete crd {crd['metadata']['name']}" in how


def _pods() -> dict[str, dict[str, Any]]:
    """The pod specs, by their component."""
    found = {}
    for each in objects("Deployment", "DaemonSet", "CronJob"):
        spec = each["spec"]
        spec = spec["jobTemplate"]["spec"] if each["kind"] == "CronJob" else spec
        found[each["metadata"]["name"].removeprefix("csi-lvm-iscsi-")] = spec["template"]["spec"]
    return found


def test_storage_hosts_are_the_nodes_with_the_label_that_messages_name() -> None:
    pods = _pods()
    for name in ("storage", "tgtd"):
        assert pods[name]["nodeSelector"][names.STORAGE_LABEL] == "true"


def test_privileges_are_those_of_the_manifests() -> None:
    accounts = {each["metadata"]["name"]: each for each in objects("ServiceAccount")}
    pods = _pods()
    rows = table("security.md", "pod")
    assert {row[0] for row in rows} == set(pods)
    for name, *told in rows:
        pod = pods[name]
        token = pod.get("automountServiceAccountToken")
        if token is None:
            account = accounts[pod["serviceAccountName"]]
            token = account.get("automountServiceAccountToken", True)
        contexts = [each["securityContext"] for each in pod["containers"]]
        paths = (
            [each["hostPath"]["path"] for each in pod["volumes"] if "hostPath" in each]
            if ("volumes" in pod)
            else []
        )
        for context in contexts:
            assert context["readOnlyRootFilesystem"]
        assert told == [
            str(pod.get("securityContext", {}).get("runAsUser", "root")),
            _yes(any(each.get("privileged") for each in contexts)),
            _yes(pod.get("hostNetwork", False)),
            _yes(pod.get("hostPID", False)),
            told[4],
            _yes(token),
        ], name
        shown = told[4].replace("kubeletDir", "/var/lib/kubelet").replace("`", "").split()
        assert sorted(shown) == (sorted(paths) or ["none"]), name


def _yes(is_so: object) -> str:
    return "yes" if is_so else "no"


_COLUMNS = {
    **dict.fromkeys(("get", "list", "watch"), "reads"),
    "create": "makes",
    **dict.fromkeys(("update", "patch"), "changes"),
    "delete": "deletes",
}


def test_rights_are_those_of_the_manifests() -> None:
    told = {}
    for account, where, *cells in table("security.md", "account"):
        for column, cell in zip(("reads", "makes", "changes", "deletes"), cells, strict=True):
            for own, resource in re.findall(r"(own )?`([\w/]+)`", cell):
                told[account, where, column, resource] = bool(own)
    given: dict[tuple[str, str, str, str], bool] = {}
    for each in objects("Role", "ClusterRole"):
        account = each["metadata"]["name"].removeprefix("csi-lvm-iscsi-")
        if account.startswith("volumehotplugs-"):  # users'
            continue
        where = "cluster" if each["kind"] == "ClusterRole" else "namespace"
        for rule in each["rules"]:
            for resource, verb in itertools.product(rule["resources"], rule["verbs"]):
                right = (account.removesuffix("-hook"), where, _COLUMNS[verb], resource)
                given[right] = given.get(right, True) and "resourceNames" in rule
    assert told == given


def test_ports_are_those_of_the_manifests() -> None:
    opened = {
        port["containerPort"]
        for pod in _pods().values()
        for container in pod["containers"]
        for port in container.get("ports", ())
    }
    for pod in _pods().values():
        for container in pod["containers"]:
            opened |= {
                int(each.rpartition(":")[2])
                for each in container.get("args", ())
                if re.match(r"--(metrics|listen|http-endpoint)=", each)
            }
    told: set[int] = set()
    for row in table("networking.md", "from"):
        ends = [int(each) for each in re.findall(r"\d+", row[2])]
        told |= set(range(ends[0], ends[-1] + 1))
    assert told == opened | {3260, 443}
