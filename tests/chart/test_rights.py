"""The rights that the chart renders. What a real API server says of them: test_cluster.py."""

from typing import Any

import pytest
import yaml

from csi_lvm_iscsi.model.names import DRIVER
from tests.chart.charts import LEAST, MINIMAL, VARIANTS, find, rendered

Rule = dict[str, list[str]]
Right = tuple[str, str, str, str]
"""API group, resource, verb, and the name of the one object that it is for, or nothing."""


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_rule_has_a_wildcard(variant: str) -> None:
    rules = [rule for each in rendered(VARIANTS[variant]) for rule in each.get("rules") or []]
    assert rules
    assert not [rule for rule in rules if any("*" in values for values in rule.values())]


def _rights(values: dict[str, Any], kind: str, role: str) -> set[Right]:
    rules: list[Rule] = find(rendered(values), kind, f"csi-lvm-iscsi-{role}")["rules"]
    return {
        (group, resource, verb, name)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for name in rule.get("resourceNames", [""])
    }


def _of_leases(values: dict[str, Any]) -> set[tuple[str, str]]:
    rights = _rights(values, "Role", "controller")
    return {(verb, name) for _, resource, verb, name in rights if resource == "leases"}


def test_sidecars_may_work_with_their_own_leases_only() -> None:
    # main.go of external-provisioner 6.3, external-attacher 4.13, external-resizer 2.3,
    # external-snapshotter 8.7; sanitizeName in leaderelection of csi-lib-utils 0.24 and 0.25.
    driver = DRIVER.replace(".", "-")
    leases = [driver, f"external-attacher-leader-{driver}", f"external-resizer-{driver}"]
    of_snapshots = f"external-snapshotter-leader-{driver}"

    def used(names: list[str]) -> set[tuple[str, str]]:
        return {("create", ""), *((verb, name) for name in names for verb in ("get", "update"))}

    assert _of_leases(LEAST) == used(leases)
    assert _of_leases(MINIMAL) == used([*leases, of_snapshots])


def test_what_the_scheduler_is_told_is_a_right_with_zones_only() -> None:
    zoned = {**MINIMAL, "zones": True}
    more = _rights(zoned, "Role", "controller") - _rights(MINIMAL, "Role", "controller")
    verbs = ("get", "list", "watch", "create", "update", "patch", "delete")
    assert more == {
        *(("storage.k8s.io", "csistoragecapacities", verb, "") for verb in verbs),
        ("", "pods", "get", ""),
        ("apps", "replicasets", "get", ""),
    }
    for role in ("controller", "operator"):
        assert _rights(zoned, "ClusterRole", role) == _rights(MINIMAL, "ClusterRole", role)
    least = {**LEAST, "zones": True}
    more = _rights(least, "ClusterRole", "operator") - _rights(LEAST, "ClusterRole", "operator")
    assert more == {("", "nodes", "get", "")}


def test_without_virtual_machines_nothing_of_them_is_left() -> None:
    text = yaml.safe_dump(rendered(LEAST)).lower()
    assert "kubevirt" not in text
    assert "virtualmachine" not in text
    assert "virtual-machines" not in text
    assert "hotplug" not in text
    rules = find(rendered(LEAST), "ClusterRole", "csi-lvm-iscsi-operator")["rules"]
    assert [(rule["resources"], rule["verbs"]) for rule in rules] == [
        (["storagenodes"], ["list", "watch", "create", "patch"]),
        (["storagenodes/status"], ["patch"]),
        (["events"], ["create"]),
    ]
