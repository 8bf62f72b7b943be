"""`kubectl lvmiscsi attachments`: one table over claims, volumes, hosts, nodes, pods and VMs."""

import json

import pytest

from csi_lvm_iscsi.kubectl import plugin
from tests.unit.kubectl.objects import (
    HANDLE,
    PV,
    SERIAL,
    TIME,
    attachment,
    claim,
    guest,
    hotplug,
    metadata,
    pod,
    storage_node,
    volume,
)
from tests.unit.kubectl.plugging import leaving
from tests.unit.kubectl.workstation import Workstation

VOLUME = "66c20073-pvc-0b6b2a4e"
LAUNCHER = {"kubevirt.io": "virt-launcher", "vm.kubevirt.io/name": "c2"}
HOTPLUG_POD = {"kubevirt.io": "hotplug-disk"}
NFS = metadata("files", "default")
OTHERS_UUID = "Zn5LwE-ncXe-Qyfm-aBcD-eFgH-iJkL-mNoPqR"


@pytest.fixture
def bound(desk: Workstation) -> Workstation:
    """A claim `data` of a volume on storage-1, which nobody uses."""
    desk.has(plugin.CLAIMS, claim("data", pv=PV))
    desk.has(plugin.VOLUMES, volume(PV, HANDLE, "data"))
    desk.has(plugin.HOSTS, storage_node("storage-2", OTHERS_UUID), storage_node("storage-1"))
    return desk


def rows(desk: Workstation, *words: str) -> list[list[str]]:
    """Of each row what comes after the claim's volume: host, node, user, state."""
    ran = desk.run("attachments", "--no-headers", *words)
    assert (ran.status, ran.err) == (0, "")
    return [row[4:] for row in ran.rows()]


def test_a_volume_that_nobody_uses(bound: Workstation) -> None:
    ran = bound.run("attachments")
    assert ran.rows() == [
        ["NAMESPACE", "CLAIM", "VOLUME", "SIZE", "STORAGE HOST", "NODE", "USED BY", "STATE"],
        ["default", "data", VOLUME, "10Gi", "storage-1", "<none>", "<none>", "Available"],
    ]
    assert bound.run("attachments", "--no-headers").rows() == ran.rows()[1:]


def test_pods_and_the_nodes_they_are_on(bound: Workstation) -> None:
    bound.has(plugin.CLAIMS, claim("data", pv=PV), claim("other", pv=""))
    bound.has("volumeattachments", attachment(PV, "compute-1"), attachment("pvc-x", "compute-3"))
    bound.has(
        "pods",
        pod("app", node="compute-1", claims=("logs", "data")),
        pod("done", node="compute-1", claims=("data",), phase="Succeeded"),
        pod("waits", claims=("data",), phase="Pending"),
        pod("else", "team", node="compute-1", claims=("data",)),
    )
    assert rows(bound, "data") == [
        ["storage-1", "<none>", "pod/waits", "Waiting"],
        ["storage-1", "compute-1", "pod/app", "Attached"],
    ]
    assert rows(bound)[-1] == ["<none>", "<none>", "<none>", "Pending"]


def test_the_claim_that_was_made_for_a_pod(bound: Workstation) -> None:
    bound.has(plugin.CLAIMS, claim("app-scratch", pv=PV))
    found = pod("app", node="compute-1")
    found["spec"]["volumes"] = [{"name": "scratch", "ephemeral": {"volumeClaimTemplate": {}}}]
    bound.has("pods", found)
    assert rows(bound) == [["storage-1", "compute-1", "pod/app", "Waiting"]]


def test_how_far_an_attachment_is(bound: Workstation) -> None:
    error = "storage-1 is unreachable"
    bound.has("pods", pod("app", node="compute-1", claims=("data",), phase="Pending"))
    bound.has("volumeattachments", attachment(PV, "compute-1", attached=False, error=error))
    assert rows(bound) == [["storage-1", "compute-1", "pod/app", "Attaching"]]
    assert error in bound.run("attachments", "-o", "wide").out

    leaves = attachment(PV, "compute-1")
    leaves["metadata"]["deletionTimestamp"] = TIME
    bound.has("volumeattachments", leaves)
    bound.has("pods")
    assert rows(bound) == [["storage-1", "compute-1", "<none>", "Detaching"]]


def test_a_vm_by_its_volumehotplug(bound: Workstation) -> None:
    """Neither the pods that KubeVirt made for it, nor the VM's own list, are told again."""
    bound.has(plugin.HOTPLUGS, hotplug("data", "c2", "Attached"))
    bound.has(plugin.GUESTS, guest("c2", "compute-1", "data"))
    bound.has("volumeattachments", attachment(PV, "compute-1"))
    bound.has("pods", pod("hp-volume-x", node="compute-1", claims=("data",), labels=HOTPLUG_POD))
    assert rows(bound) == [["storage-1", "compute-1", "vm/c2", "Attached"]]
    (row,) = json.loads(bound.run("attachments", "-o", "json").out)["attachments"]
    assert row == {
        "namespace": "default",
        "claim": "data",
        "volume": HANDLE,
        "size": "10Gi",
        "storage_host": "storage-1",
        "node": "compute-1",
        "used_by": "vm/c2",
        "state": "Attached",
        "device": "sda",
        "serial": SERIAL,
        "message": "",
        "persistent_volume": PV,
    }


def test_a_vm_that_waits_for_its_volume(bound: Workstation) -> None:
    bound.has(plugin.HOTPLUGS, hotplug("data", "c2", "Waiting", "c2 is stopped"))
    assert rows(bound) == [["storage-1", "<none>", "vm/c2", "Waiting"]]
    assert "Waiting: c2 is stopped" in bound.run("attachments", "-o", "wide").out


def test_a_vm_that_has_it_without_a_volumehotplug(bound: Workstation) -> None:
    running = guest("c2", "compute-1")
    running["spec"]["volumes"] = [{"name": "root", "dataVolume": {"name": "data"}}]
    bound.has(plugin.GUESTS, running)
    bound.has("volumeattachments", attachment(PV, "compute-1"))
    bound.has("pods", pod("virt-launcher-c2", node="compute-1", claims=("data",), labels=LAUNCHER))
    assert rows(bound) == [["storage-1", "compute-1", "vm/c2", "Attached"]]


def test_a_vm_that_moves_to_another_node(bound: Workstation) -> None:
    """The pod that KubeVirt made there for it is nobody who uses the claim."""
    bound.has(plugin.GUESTS, guest("c2", "compute-1", "data"))
    nodes = ("compute-1", "compute-2")
    bound.has("volumeattachments", *(attachment(PV, node) for node in nodes))
    bound.has(
        "pods",
        *(pod(f"hp-{node}", node=node, claims=("data",), labels=HOTPLUG_POD) for node in nodes),
    )
    assert rows(bound) == [
        ["storage-1", "compute-1", "vm/c2", "Attached"],
        ["storage-1", "compute-2", "<none>", "Attached"],
    ]


def test_a_pod_that_kubevirt_made_for_a_vm_that_cannot_be_seen(bound: Workstation) -> None:
    bound.has("pods", pod("hp-x", node="compute-1", claims=("data",), labels=HOTPLUG_POD))
    assert rows(bound) == [["storage-1", "compute-1", "pod/hp-x", "Waiting"]]


def test_only_claims_of_ours_unless_asked(bound: Workstation) -> None:
    """Or plugged into a VM by the same button."""
    foreign = claim("nfs", pv="pv-nfs")
    foreign["metadata"]["annotations"] = {}
    bound.has(plugin.CLAIMS, foreign)
    assert bound.run("attachments").err == (
        "No claims of csi-lvm-iscsi here; -A looks at all namespaces\n"
    )
    assert rows(bound, "nfs") == [["<unknown>", "<none>", "<none>", "Available"]]
    bound.has(plugin.HOTPLUGS, hotplug("nfs", "c2", "Attached"))
    assert rows(bound) == [["<unknown>", "compute-1", "vm/c2", "Attached"]]


def test_all_namespaces_and_volumes_whose_claim_is_gone(bound: Workstation) -> None:
    bound.has(plugin.CLAIMS, claim("data", pv=PV), claim("other", "team"))
    left = volume("pv-left", "66c20073-left", "gone", "team", phase="Released")
    bound.has(plugin.VOLUMES, volume(PV, HANDLE, "data"), left)
    bound.has("volumeattachments", attachment("pv-left", "compute-1"))
    assert [row[:2] for row in bound.run("attachments", "--no-headers").rows()] == [
        ["default", "data"]
    ]
    everything = bound.run("attachments", "-A", "--no-headers").rows()
    assert [row[:2] + row[5:] for row in everything] == [
        ["default", "data", "<none>", "<none>", "Available"],
        ["team", "gone", "compute-1", "<none>", "Attached"],
        ["team", "other", "<none>", "<none>", "Pending"],
    ]


def test_without_kubevirt_and_without_storagenodes(bound: Workstation) -> None:
    bound.lacks(plugin.HOTPLUGS, plugin.GUESTS, plugin.MACHINES, plugin.HOSTS)
    bound.has("volumeattachments", attachment(PV, "compute-1"))
    assert rows(bound) == [["<unknown>", "compute-1", "<none>", "Attached"]]


def test_for_a_user_who_may_see_only_a_namespace(bound: Workstation) -> None:
    """What cannot be seen is not guessed."""
    cluster_wide = [plugin.VOLUMES, "volumeattachments", plugin.HOSTS]
    bound.cluster["forbidden"] = cluster_wide
    bound.has("pods", pod("app", node="compute-1", claims=("data",)))
    ran = bound.run("attachments", "--no-headers")
    assert ran.status == 0
    assert ran.err == f"Shown without what you may not list: {', '.join(cluster_wide)}\n"
    assert ran.rows() == [
        ["default", "data", PV[:12], "10Gi", "<unknown>", "compute-1", "pod/app", "<unknown>"]
    ]


@pytest.mark.parametrize("words", [(), ("data",), ("-o", "json")])
def test_for_a_user_who_may_not_see_claims(bound: Workstation, words: tuple[str, ...]) -> None:
    """That there is none is not said."""
    bound.cluster["forbidden"] = [plugin.CLAIMS, "pods"]
    ran = bound.run("attachments", *words)
    assert (ran.status, ran.out) == (1, "")
    assert f'cannot list resource "{plugin.CLAIMS}"' in ran.err
    assert ran.err.endswith("Ask an administrator of the cluster for that right.\n")


def test_of_two_of_one_vm_the_one_that_attaches_the_claim_is_shown(bound: Workstation) -> None:
    younger = hotplug("data", "c2", "Failed", "c2-data attaches it", reason="Duplicate")
    younger["metadata"] |= {"name": "zz", "creationTimestamp": "2026-11-29T09:00:00Z"}
    bound.has(plugin.HOTPLUGS, hotplug("data", "c2", "Attached"), younger)
    assert rows(bound) == [["storage-1", "compute-1", "vm/c2", "Attached"]]


def test_one_that_is_deleted_is_detaching_also_without_an_operator(bound: Workstation) -> None:
    bound.has(plugin.HOTPLUGS, leaving(hotplug("data", "c2", "Attached")))
    assert rows(bound) == [["storage-1", "compute-1", "vm/c2", "Detaching"]]


@pytest.mark.parametrize("is_allowed", [True, False])
def test_a_claim_whose_class_waits_for_a_pod(desk: Workstation, *, is_allowed: bool) -> None:
    """Kubernetes writes on it whose it is when there is a pod."""
    waits = claim("data")
    waits["metadata"]["annotations"] = {}
    desk.has(plugin.CLAIMS, waits, claim("files", storage_class="nfs") | {"metadata": NFS})
    block = {"metadata": metadata("csi-lvm-iscsi-block"), "provisioner": plugin.DRIVER}
    desk.has("storageclasses", block, {"metadata": metadata("nfs"), "provisioner": "nfs"})
    desk.has("pods", pod("app", claims=("data", "files"), phase="Pending"))
    desk.cluster["forbidden"] = [] if is_allowed else ["storageclasses"]
    ran = desk.run("attachments", "--no-headers")
    row = ["default", "data", "<none>", "10Gi", "<none>", "<none>", "pod/app", "Pending"]
    assert ran.rows() == ([row] if is_allowed else [])


@pytest.mark.parametrize("output", [(), ("-o", "json"), ("-o", "wide")])
def test_a_claim_that_is_not_there(bound: Workstation, output: tuple[str, ...]) -> None:
    ran = bound.run("attachments", "nosuch", *output)
    assert (ran.status, ran.out) == (1, "")
    assert ran.err == "error: There is no claim nosuch here: name its namespace with -n.\n"


def test_a_row_is_a_line(bound: Workstation) -> None:
    error = "storage-1 is unreachable:\n\tno route"
    bound.has("volumeattachments", attachment(PV, "compute-1", attached=False, error=error))
    (row,) = bound.run("attachments", "-o", "wide", "--no-headers").rows()
    assert "storage-1 is unreachable: no route" in row
    assert row[2] == HANDLE
