"""`kubectl lvmiscsi attach`: what it asks for, and what it tells while it waits."""

import re

import pytest

from csi_lvm_iscsi.kubectl import plugin
from csi_lvm_iscsi.operator.hotplug.reasons import Reason
from tests.unit.kubectl.objects import SERIAL, Object, hotplug
from tests.unit.kubectl.plugging import (
    ATTACH,
    ATTACHED,
    DETACH,
    NEW,
    leaving,
    modified,
    named,
    waits,
)
from tests.unit.kubectl.workstation import Workstation

GUEST_HAS_IT = f"the guest has it as /dev/disk/by-id/scsi-0QEMU_QEMU_HARDDISK_{SERIAL}\n"


def test_attach_makes_a_volumehotplug(desk: Workstation) -> None:
    ran = desk.run(*ATTACH, "--bus=virtio", "--read-only", "--serial", "disk-1", "-n", "team")
    assert (ran.status, ran.out, ran.err) == (0, "VolumeHotplug c2-data created\n", "")
    assert desk.created() == {
        "apiVersion": "csi-lvm-iscsi.github.io/v1alpha1",
        "kind": "VolumeHotplug",
        "metadata": {"name": "c2-data"},
        "spec": {
            "claimName": "data",
            "virtualMachineName": "c2",
            "bus": "virtio",
            "readOnly": True,
            "serial": "disk-1",
        },
    }


@pytest.mark.parametrize("before", [True, False])
def test_flags_are_passed_on_to_kubectl(desk: Workstation, *, before: bool) -> None:
    flags = ("-n", "team", "--context=west", "--kubeconfig", "/k", "--as=dev")
    desk.run(*flags, *ATTACH) if before else desk.run(*ATTACH, *flags)
    (call,) = desk.calls("create")
    assert call[:4] == ["--namespace=team", "--context=west", "--as=dev", "--kubeconfig=/k"]


def test_the_same_again_is_fine(desk: Workstation) -> None:
    desk.has(plugin.HOTPLUGS, ATTACHED)
    desk.cluster["lists"] = [[ATTACHED]]
    ran = desk.run(*ATTACH, "--wait")
    assert ran.status == 0
    there, attached = ran.out.splitlines(keepends=True)
    assert there == "VolumeHotplug c2-data is there already\n"
    assert attached == f"data is attached to c2 on compute-1; {GUEST_HAS_IT}"


def test_one_of_another_name_is_the_same(desk: Workstation) -> None:
    """A VolumeHotplug that a person made has a name of its own."""
    desk.has(plugin.HOTPLUGS, named("mine", ATTACHED))
    desk.cluster["lists"] = [[named("mine", ATTACHED)]]
    ran = desk.run(*ATTACH, "--wait")
    assert ran.out.startswith("VolumeHotplug mine is there already\ndata is attached to c2")
    assert "--field-selector=metadata.name=mine" in desk.calls("get")[1]
    assert not desk.calls("create")
    assert "a VolumeHotplug mine already, but" in desk.run(*ATTACH, "--read-only").err


def test_of_several_it_is_the_one_that_attaches_the_claim(desk: Workstation) -> None:
    first, second = (f"2026-11-28T09:00:0{second}Z" for second in (1, 2))
    younger = named("a", NEW, creationTimestamp=second)
    desk.has(plugin.HOTPLUGS, younger, named("b", ATTACHED, creationTimestamp=first))
    assert desk.run(*ATTACH).out == "VolumeHotplug b is there already\n"
    desk.has(plugin.HOTPLUGS, younger, leaving(named("b", ATTACHED, creationTimestamp=first)))
    assert desk.run(*ATTACH).out == "VolumeHotplug a is there already\n"


def test_pairs_of_a_vm_and_a_claim_that_would_have_one_name(desk: Workstation) -> None:
    """The second gets another name, by which the same command again finds it."""
    desk.has(plugin.HOTPLUGS, hotplug("prod-data", "db"))
    words = ("attach", "data", "--vm", "db-prod")
    assert desk.run(*words).out == "VolumeHotplug db-prod-data-e545fad0beb8 created\n"
    desk.has(plugin.HOTPLUGS, hotplug("prod-data", "db"), desk.created())
    assert desk.run(*words).out == "VolumeHotplug db-prod-data-e545fad0beb8 is there already\n"
    desk.has(plugin.HOTPLUGS, hotplug("data", "db-prod"))
    assert desk.run("attach", "prod-data", "--vm", "db").status == 0
    assert desk.created()["metadata"]["name"] not in ("db-prod-data", "db-prod-data-e545fad0beb8")


def test_advice_is_for_the_same_cluster_and_namespace(desk: Workstation) -> None:
    there = hotplug("data", "c2")
    there["metadata"]["namespace"] = "team"
    desk.has(plugin.HOTPLUGS, there)
    ran = desk.run(*ATTACH, "--read-only", "-n", "team", "--context=west")
    advice = "kubectl lvmiscsi detach data --vm c2 --wait --namespace=team --context=west"
    assert f"(`{advice}`)" in ran.err


def test_one_that_is_made_meanwhile(desk: Workstation) -> None:
    """The list does not have it, but it is in the way."""
    there = hotplug("data", "c2")
    there["metadata"]["namespace"] = "team"
    desk.has(plugin.HOTPLUGS, there)
    ran = desk.run(*ATTACH)
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.endswith("already exists. Somebody made it just now: try again.\n")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--bus=virtio"], 'with bus "scsi": detach it first'),
        (["--read-only"], "with readOnly false: detach it first"),
        (["--serial=other"], 'with serial "": detach it first'),
    ],
)
def test_another_one_of_that_name_is_refused(
    desk: Workstation, options: list[str], words: str
) -> None:
    desk.has(plugin.HOTPLUGS, ATTACHED)
    ran = desk.run(*ATTACH, *options)
    assert (ran.status, ran.out) == (1, "")
    assert words in ran.err
    assert "`kubectl lvmiscsi detach data --vm c2 --wait`" in ran.err


def test_one_that_is_leaving_is_not_taken_for_the_same(desk: Workstation) -> None:
    desk.has(plugin.HOTPLUGS, leaving(ATTACHED))
    ran = desk.run(*ATTACH, "--wait")
    assert ran.status == 1
    assert "It is being detached: attach it again when that is done" in ran.err


@pytest.mark.parametrize("reason", [Reason.ATTACHED_BY_OTHERS, Reason.PART_OF_MACHINE])
@pytest.mark.parametrize("serial", ["", SERIAL])
def test_the_path_of_a_disk_that_others_attached_is_not_known(
    desk: Workstation, reason: Reason, serial: str
) -> None:
    """A serial number is one that it was to get, and that it does not have."""
    message = "The guest has claim data, disk sda of KubeVirt. Somebody else attached it."
    others = hotplug("data", "c2", "Attached", message, reason=reason, serial=serial)
    desk.cluster["lists"] = [[others]]
    ran = desk.run(*ATTACH, "--wait")
    assert ran.status == 0
    assert ran.out.endswith(f"\ndata is attached to c2 on compute-1. {message}\n")


def test_attach_tells_what_it_waits_for(desk: Workstation) -> None:
    """Each once, though states come that say the same."""
    desk.cluster["lists"] = [[NEW]]
    states = [waits("storage-2 is unreachable"), waits("storage-2 is unreachable"), ATTACHED]
    desk.cluster["watches"] = [[modified(each) for each in states]]
    ran = desk.run(*ATTACH, "--wait", mixed=True)
    assert ran.status == 0
    assert ran.out.splitlines(keepends=True) == [
        "VolumeHotplug c2-data created\n",
        "Pending: the operator of csi-lvm-iscsi has not seen it yet\n",
        "Attaching: storage-2 is unreachable\n",
        "Attached\n",
        f"data is attached to c2 on compute-1; {GUEST_HAS_IT}",
    ]
    (_, _, watch) = desk.calls("get")
    assert watch == [
        "get",
        plugin.HOTPLUGS,
        "--request-timeout=300s",
        "--namespace=default",
        "--field-selector=metadata.name=c2-data",
        "--output=json",
        "--watch",
        "--output-watch-events",
    ]


EXPIRED = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired"}}


@pytest.mark.parametrize(
    "first",
    [[], [modified(waits("x"))], [EXPIRED], ['{"type": "MODIF'], "error: unexpected EOF"],
)
def test_a_watch_that_ends_is_made_anew(desk: Workstation, first: list[object] | str) -> None:
    desk.cluster["lists"] = [[NEW], [waits("after that")]]
    desk.cluster["watches"] = [first, [modified(ATTACHED)]]
    ran = desk.run(*ATTACH, "--wait")
    assert ran.status == 0
    assert "Attaching: after that\n" in ran.err


def test_a_watch_that_tells_nothing_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, desk: Workstation
) -> None:
    """The VolumeHotplug went between the list and the watch, which then has nothing to tell."""
    monkeypatch.setattr(plugin, "_FIRST_SECONDS", 0.5)
    monkeypatch.setenv("PATH", str(desk.directory))
    desk.cluster["lists"] = [[NEW], []]
    desk.cluster["silent"] = True
    desk.write()
    states = plugin.Kubectl(()).states(NEW, seconds=30)
    assert list(states) == [NEW]


def refused() -> Object:
    return hotplug("data", "c2", "Failed", "KubeVirt: try again later.", reason=Reason.REFUSED)


def test_a_refusal_is_waited_for_as_kubevirt_is_asked_again(desk: Workstation) -> None:
    desk.cluster["lists"] = [[NEW]]
    desk.cluster["watches"] = [[modified(refused()), modified(waits("")), modified(ATTACHED)]]
    ran = desk.run(*ATTACH, "--wait")
    assert ran.status == 0
    assert "Failed: KubeVirt: try again later.\n" in ran.err


def test_a_refusal_that_stays_is_what_it_ends_with(desk: Workstation) -> None:
    desk.cluster["lists"] = [[refused()]]
    ran = desk.run(*ATTACH, "--wait", "--timeout=0.5")
    assert ran.status == 1
    assert ran.err.endswith(" Its last words: Failed: KubeVirt: try again later.\n")


def test_that_a_vm_is_bound_to_its_node_is_told_when_it_is_so(desk: Workstation) -> None:
    """Nothing waits for that."""
    states = [waits("storage-2 is unreachable"), hotplug("data", "c2", "Attached")]
    for state in states:
        remark = {"type": "Migratable", "status": "False", "message": "it is not ReadWriteMany"}
        state["status"]["conditions"].append(remark)
    desk.cluster["lists"] = [[states[0]]]
    desk.cluster["watches"] = [[modified(states[1])]]
    ran = desk.run(*ATTACH, "--wait")
    assert ran.err == ("Attaching: storage-2 is unreachable\nAttached: it is not ReadWriteMany\n")


FAILED = hotplug("data", "c2", "Failed", "no port", reason=Reason.NO_FREE_PORT)


def ends(*lists: list[Object], watch: list[Object] | str) -> Object:
    return {"lists": lists, "watches": [watch]}


@pytest.mark.parametrize(
    ("cluster", "words"),
    [
        (ends([NEW], watch=[modified(FAILED)]), "no port"),
        (ends([NEW], watch=[{"type": "DELETED", "object": NEW}]), "was deleted meanwhile"),
        (ends([], watch=[]), "was deleted meanwhile"),
        (ends([NEW], watch="Error from server (Forbidden): no watch"), "Ask an administrator"),
    ],
)
def test_waiting_ends_where_it_cannot_come_to_be(
    desk: Workstation, cluster: Object, words: str
) -> None:
    desk.cluster.update(cluster)
    ran = desk.run(*ATTACH, "--wait")
    assert ran.status == 1
    assert words in ran.err


def test_waiting_is_bounded(desk: Workstation) -> None:
    desk.cluster["lists"] = [[NEW], [waits("the guest is busy")]]
    ran = desk.run(*ATTACH, "--wait", "--timeout", "0.5", "-n", "team")
    assert ran.status == 1
    assert ran.err == (
        "Pending: the operator of csi-lvm-iscsi has not seen it yet\n"
        "Attaching: the guest is busy\n"
        "error: Not done after 0.5 s, but it goes on: `kubectl --namespace=team get "
        "volumehotplugs.csi-lvm-iscsi.github.io c2-data` shows how far it is. "
        "Its last words: Attaching: the guest is busy\n"
    )


def test_waiting_is_bounded_where_kubectl_is_a_script(desk: Workstation) -> None:
    """To kill that does not end what it started."""
    kubectl = desk.directory / "kubectl"
    kubectl.rename(desk.directory / "started")
    kubectl.write_text(f'#!/bin/sh\n"{desk.directory}/started" "$@"\nexit $?\n')
    kubectl.chmod(0o755)
    desk.cluster["lists"] = [[NEW]]
    ran = desk.run(*ATTACH, "--wait", "--timeout", "0.5")
    assert "Not done after 0.5 s" in ran.err


def test_without_patience_it_is_looked_at_once(desk: Workstation) -> None:
    desk.cluster["lists"] = [[ATTACHED]]
    assert desk.run(*ATTACH, "--wait", "--timeout=0").status == 0
    desk.cluster["lists"] = [[waits("the guest is busy")]]
    ran = desk.run(*ATTACH, "--wait", "--timeout=0")
    assert "Not done after 0 s" in ran.err
    assert not any("--watch" in call for call in desk.calls("get"))


@pytest.mark.parametrize("given", ["-1", "nan", "inf", "1e10", "5d", "m", "99999999999h", ""])
def test_what_is_no_duration(desk: Workstation, given: str) -> None:
    ran = desk.run(*ATTACH, "--timeout", given)
    assert ran.status == 2
    assert f"argument --timeout: {given!r} is no duration, like 90, 90s or 5m" in ran.err


@pytest.mark.parametrize(
    ("given", "seconds"), [("90", 90), ("90s", 90), ("5m", 300), ("1h1.5m", 3690), ("0", 0)]
)
def test_durations_as_kubectl_takes_them(given: str, seconds: float) -> None:
    assert plugin._seconds(given) == seconds


def test_no_flag_is_taken_for_another(desk: Workstation) -> None:
    desk.has(plugin.HOTPLUGS, ATTACHED)
    ran = desk.run(*DETACH, "--fo")
    assert ran.status == 2
    assert "unrecognized arguments: --fo" in ran.err


def test_names_as_the_table_shows_them(desk: Workstation) -> None:
    assert desk.run("attach", "pvc/data", "--vm", "vm/c2").status == 0
    wanted = {"claimName": "data", "virtualMachineName": "c2"}
    assert wanted.items() <= desk.created()["spec"].items()


@pytest.mark.parametrize("words", [ATTACH, DETACH])
def test_a_cluster_without_the_driver(desk: Workstation, words: tuple[str, ...]) -> None:
    desk.lacks(plugin.HOTPLUGS)
    ran = desk.run(*words)
    assert ran.status == 1
    assert "Install csi-lvm-iscsi in this cluster, or upgrade it" in ran.err


def test_names_of_volumehotplugs() -> None:
    assert plugin.hotplug_names("c2", "data")[0] == "c2-data"
    assert len(plugin.hotplug_names("c" * 126, "d" * 126)) == 2
    pairs = [("v" * count + ".m", "c" * 40) for count in range(236, 242)]
    pairs += [("v" * 200, "v-" * 50 + "v"), ("v" * 200 + "-v", "v-" * 49 + "v")]
    long = [name for pair in pairs for name in plugin.hotplug_names(*pair)]
    label = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?"
    for name in long:
        assert len(name) <= 253
        assert re.fullmatch(rf"({label}\.)*{label}-[0-9a-f]{{12}}", name)
    assert len(set(long)) == len(pairs)


def test_where_the_guest_has_it() -> None:
    assert plugin.guest_path("virtio", "abc") == "/dev/disk/by-id/virtio-abc"
