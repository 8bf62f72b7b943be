"""`kubectl lvmiscsi doctor`: the hosts' own doctors and the cluster, in one report."""

import json
from collections.abc import Sequence

import pytest

from csi_lvm_iscsi.diagnosis import report
from csi_lvm_iscsi.kubectl import plugin
from csi_lvm_iscsi.model import findings
from csi_lvm_iscsi.model.findings import Finding
from tests.unit.kubectl.objects import (
    PV,
    Object,
    attachment,
    claim,
    event,
    hotplug,
    metadata,
    node,
    role_pod,
    storage_node,
    workload,
)
from tests.unit.kubectl.plugging import leaving
from tests.unit.kubectl.workstation import Workstation

STORAGE_LABEL = {"csi-lvm-iscsi.github.io/storage": "true"}
FINE = findings.ok("clock", "synchronised")
ZERO = findings.error(
    "thin pool", "vg0/pool does not zero new blocks", "lvchange --zero y vg0/pool"
)
TGTD = findings.warning("tgtd", "it is old", "apt-get install tgt")


def says(role: str, *found: Finding, **facts: str) -> Object:
    """What `csi-lvm-iscsi doctor` prints, and exits with."""
    failed = any(each.level is findings.Level.ERROR for each in found)
    return {"stdout": report.as_json(role, facts, found), "status": int(failed)}


@pytest.fixture
def healthy(desk: Workstation) -> Workstation:
    """A cluster with a storage host and a node, in which nothing is wrong."""
    desk.has("nodes", node("storage-1", **STORAGE_LABEL), node("compute-1"))
    pods = [("storage", "storage-1"), ("tgtd", "storage-1"), ("controller", "compute-1")]
    pods += [("node", "storage-1"), ("node", "compute-1")]
    desk.has("pods", *(role_pod(role, host) for role, host in pods))
    desk.has(
        plugin.WORKLOADS,
        workload("DaemonSet", "storage", STORAGE_LABEL),
        workload("DaemonSet", "node", {"kubernetes.io/os": "linux"}),
        workload("Deployment", "controller"),
    )
    desk.has(plugin.HOSTS, storage_node("storage-1"))
    desk.has("storageclasses", storage_class("csi-lvm-iscsi-block"), storage_class("nfs", "nfs"))
    hears(desk, "storage-1", "storage", FINE)
    hears(desk, "storage-1", "node", FINE, FINE)
    hears(desk, "compute-1", "node", FINE)
    return desk


def hears(desk: Workstation, host: str, role: str, *found: Finding, machine: str = "") -> None:
    iqn = {"initiatorName": f"iqn:{host}"} if role == "node" else {}
    answer = says(role, *found, machineId=machine or host, **iqn)
    desk.cluster["exec"][f"csi-lvm-iscsi-{role}-{host}"] = answer


def storage_class(name: str, provisioner: str = plugin.DRIVER) -> Object:
    return {"metadata": metadata(name), "provisioner": provisioner}


def wrong(desk: Workstation) -> list[Sequence[str]]:
    """What is said to be wrong in the cluster: level, check, words."""
    ran = desk.run("doctor", "-o", "json")
    told = [each for each in json.loads(ran.out)["cluster"] if each["level"] != "ok"]
    assert all(each["fix"] for each in told)
    assert ran.status == int(any(each["level"] == "error" for each in told))
    return [(each["level"], each["check"], each["found"]) for each in told]


def test_where_nothing_is_wrong(healthy: Workstation) -> None:
    ran = healthy.run("doctor")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out == (
        "the cluster: 6 ok, 0 warning, 0 error\n"
        "compute-1 (role node): 1 ok, 0 warning, 0 error\n"
        "storage-1 (role node): 2 ok, 0 warning, 0 error\n"
        "storage-1 (role storage): 1 ok, 0 warning, 0 error\n"
    )


def test_it_asks_each_role_in_its_pod(healthy: Workstation) -> None:
    healthy.run("doctor", "--context", "west")
    calls = {" ".join(call) for call in healthy.calls("exec")}
    assert len(calls) == 3
    assert (
        "--context=west exec --namespace=csi-lvm-iscsi csi-lvm-iscsi-node-compute-1 "
        "--container=node -- csi-lvm-iscsi doctor node --output=json --node-id=compute-1"
    ) in calls


def test_a_storage_host_is_asked_about_the_volume_groups_of_its_storage_node(
    healthy: Workstation,
) -> None:
    """By itself its doctor does not find one of thick volumes that has none yet."""
    several = storage_node("storage-1")
    several["spec"]["volumeGroups"].append({"name": "vg1", "uuid": "another"})
    healthy.has(plugin.HOSTS, several, storage_node("storage-2"))
    healthy.run("doctor")
    assert asked_of_storage(healthy) == ["--volume-group=vg0", "--volume-group=vg1"]


def test_a_storage_host_without_a_storage_node_is_asked_all_the_same(healthy: Workstation) -> None:
    healthy.lacks(plugin.HOSTS)
    healthy.run("doctor")
    assert asked_of_storage(healthy) == []


def asked_of_storage(desk: Workstation) -> list[str]:
    (call,) = [call for call in desk.calls("exec") if "storage" in call]
    return call[call.index("--output=json") + 1 :]


def test_the_findings_of_hosts_and_their_fixes(healthy: Workstation) -> None:
    hears(healthy, "storage-1", "storage", FINE, ZERO, TGTD)
    ran = healthy.run("doctor")
    assert ran.status == 1
    assert ran.out.endswith(
        "storage-1 (role storage): 1 ok, 1 warning, 1 error\n"
        "  error    thin pool  vg0/pool does not zero new blocks\n"
        "                      fix: lvchange --zero y vg0/pool\n"
        "  warning  tgtd       it is old\n"
        "                      fix: apt-get install tgt\n"
    )


def test_warnings_are_no_failure(healthy: Workstation) -> None:
    hears(healthy, "storage-1", "storage", TGTD)
    assert healthy.run("doctor").status == 0


def test_for_programs(healthy: Workstation) -> None:
    """All of it, what is fine too."""
    told = json.loads(healthy.run("doctor", "--output", "json").out)
    assert told["hosts"][0] == {
        "host": "compute-1",
        "role": "node",
        "findings": [{"check": "clock", "level": "ok", "found": "synchronised", "fix": ""}],
        "facts": {"machineId": "compute-1", "initiatorName": "iqn:compute-1"},
    }


def test_hosts_that_are_clones(healthy: Workstation) -> None:
    """Not two roles on one host."""
    for role, host in (("node", "compute-1"), ("node", "storage-1"), ("storage", "storage-1")):
        hears(healthy, host, role, FINE, machine="0123")
    assert wrong(healthy) == [
        ("error", "machineId", "compute-1, storage-1 have the same one: 0123")
    ]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            {"complaint": "error: unable to upgrade connection: EOF", "status": 1},
            "connection: EOF.",
        ),
        ({"stdout": "Traceback", "status": 1}, "could not be asked: Traceback."),
        ({"stdout": "{", "status": 1}, "could not be asked: Expecting property name"),
        ({"stdout": "exec failed", "complaint": "error: exit code 126"}, "asked: exit code 126."),
        (
            {"complaint": 'Error from server (Forbidden): pods "x" is forbidden', "status": 1},
            "Ask an administrator",
        ),
    ],
)
def test_a_host_that_cannot_be_asked(healthy: Workstation, answer: Object, words: str) -> None:
    healthy.cluster["exec"]["csi-lvm-iscsi-node-compute-1"] = answer
    ran = healthy.run("doctor")
    assert ran.status == 1
    assert words in ran.out
    assert "fix: kubectl --namespace csi-lvm-iscsi describe pod csi-lvm-iscsi-node-compute-1" in (
        ran.out
    )
    assert "storage-1 (role storage): 1 ok" in ran.out


def test_a_host_whose_doctor_is_newer(healthy: Workstation) -> None:
    found = {"check": "clock", "level": "ok", "found": "synchronised", "fix": "", "since": "today"}
    told = {"stdout": json.dumps({"findings": [found], "more": 1})}
    healthy.cluster["exec"]["csi-lvm-iscsi-node-compute-1"] = told
    assert "compute-1 (role node): 1 ok" in healthy.run("doctor").out


def test_a_pod_that_is_not_ready_is_told_and_not_asked(healthy: Workstation) -> None:
    pods = healthy.cluster["objects"]["pods"]
    pods[-1] = role_pod("node", "compute-1", waits="ImagePullBackOff")
    pods.append(role_pod("bootstrap", "compute-1"))
    pods[-1]["status"] = {"phase": "Succeeded"}
    found = "csi-lvm-iscsi-node-compute-1 on compute-1 is not ready: ImagePullBackOff"
    assert wrong(healthy) == [("error", "pods", found)]
    assert len(healthy.calls("exec")) == 2


def test_hosts_and_deployments_without_a_pod(healthy: Workstation) -> None:
    pods = healthy.cluster["objects"]["pods"]
    healthy.has("pods", *pods[:2], pods[3])
    assert wrong(healthy) == [
        ("error", "hosts", "compute-1 has no pod of csi-lvm-iscsi-node"),
        ("error", "hosts", "csi-lvm-iscsi-controller has no pod"),
    ]


def test_storage_nodes(healthy: Workstation) -> None:
    full, retired, new = (storage_node(name) for name in ("storage-2", "storage-3", "storage-4"))
    full["status"]["conditions"][1] |= {"status": "False", "message": "vg0/pool is full"}
    full["status"]["conditions"][2] |= {"status": "True", "message": "vg0 is on two hosts"}
    retired["spec"]["retired"] = True
    del retired["status"], new["status"]
    silent = storage_node("storage-1", ready="it does not answer")
    healthy.has(plugin.HOSTS, silent, full, retired, new)
    assert wrong(healthy) == [
        ("error", "StorageNodes", "storage-1: it does not answer"),
        ("warning", "StorageNodes", "storage-2: vg0/pool is full"),
        ("error", "StorageNodes", "storage-2: vg0 is on two hosts"),
        ("error", "StorageNodes", "storage-4 has no status yet: its operator has not seen it"),
    ]


def test_claims_that_are_pending(healthy: Workstation) -> None:
    failed, waiting, silent = (claim(name, "team") for name in ("failed", "waiting", "silent"))
    bound, foreign = claim("bound", pv=PV), claim("foreign", storage_class="nfs")
    healthy.has(plugin.CLAIMS, failed, waiting, silent, bound, foreign)
    later = "2026-11-28T09:30:00Z"
    healthy.has(
        "events",
        event(failed, "Warning", "ProvisioningFailed", "no storage host has room", when=later),
        event(failed, "Normal", "Provisioning", "began"),
        event(waiting, "Normal", "WaitForFirstConsumer", "waiting for first consumer"),
    )
    found = "team/failed is Pending: ProvisioningFailed: no storage host has room"
    assert wrong(healthy) == [
        ("error", "claims", found),
        ("warning", "claims", "team/silent is Pending: no event says why"),
    ]


def test_an_event_of_few_words(healthy: Workstation) -> None:
    pending = claim("new", "team")
    said = event(pending, "Normal", "Provisioning", "")
    del said["message"]
    healthy.has(plugin.CLAIMS, pending)
    healthy.has("events", said)
    assert wrong(healthy) == [("warning", "claims", "team/new is Pending: Provisioning")]


def test_attachments_that_were_refused(healthy: Workstation) -> None:
    others = attachment("pvc-x", "compute-1", error="no such volume")
    others["spec"]["attacher"] = "nfs"
    error = "storage-1 is unreachable"
    failed = attachment(PV, "compute-1", attached=False, error=error)
    healthy.has("volumeattachments", failed, attachment(PV, "storage-1"), others)
    assert wrong(healthy) == [("error", "attachments", f"{PV} and compute-1: {error}")]


def test_volumehotplugs_that_wait(healthy: Workstation) -> None:
    healthy.has(
        plugin.HOTPLUGS,
        hotplug("a", "c2", "Attached"),
        hotplug("b", "c2", "Waiting", "c2 is stopped"),
        hotplug("c", "c2", "Failed", "there is no VM c2"),
    )
    assert wrong(healthy) == [
        ("warning", "VolumeHotplugs", "default/c2-b is Waiting: c2 is stopped"),
        ("error", "VolumeHotplugs", "default/c2-c is Failed: there is no VM c2"),
    ]


def test_what_may_not_be_listed_is_not_taken_for_fine(healthy: Workstation) -> None:
    healthy.cluster["forbidden"] = ["nodes", "events"]
    assert wrong(healthy) == [
        ("error", "hosts", "not looked at, as you may not list nodes"),
        ("error", "claims", "not looked at, as you may not list events"),
    ]


def test_without_kubevirt(healthy: Workstation) -> None:
    healthy.lacks(plugin.HOTPLUGS)
    assert wrong(healthy) == []


def test_a_cluster_without_the_driver(desk: Workstation) -> None:
    ran = desk.run("doctor")
    assert (ran.status, ran.out) == (1, "")
    assert ran.err == (
        "error: This cluster has no csi-lvm-iscsi: install it, or choose another cluster with "
        "--context.\n"
    )


@pytest.mark.parametrize("has_kind", [True, False])
def test_a_storage_host_without_a_storage_node(healthy: Workstation, *, has_kind: bool) -> None:
    healthy.has(plugin.HOSTS) if has_kind else healthy.lacks(plugin.HOSTS)
    found = "storage-1 has a storage pod and no StorageNode: its volumes count as deleted"
    assert wrong(healthy) == [("error", "StorageNodes", found)]


def test_a_volumehotplug_that_no_operator_lets_go(healthy: Workstation) -> None:
    healthy.has(plugin.HOTPLUGS, leaving(hotplug("data", "c2", "Attached")))
    assert wrong(healthy) == [("warning", "VolumeHotplugs", "default/c2-data is Detaching")]
