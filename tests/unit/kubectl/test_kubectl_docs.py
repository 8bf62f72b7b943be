"""What docs/kubectl.md shows is what the plugin says."""

import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from csi_lvm_iscsi.diagnosis import report
from csi_lvm_iscsi.kubectl import plugin
from csi_lvm_iscsi.model import findings, names
from tests.unit.kubectl import operator_says
from tests.unit.kubectl.objects import (
    HANDLE,
    PV,
    Object,
    attachment,
    claim,
    event,
    guest,
    metadata,
    node,
    pod,
    role_pod,
    storage_node,
    volume,
    workload,
)
from tests.unit.kubectl.workstation import Workstation

PAGE = (Path(__file__).parents[3] / "docs/kubectl.md").read_text()
EXAMPLES = [
    (command, shown)
    for block in re.findall(r"^```console\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    for command, shown in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)
    if command.startswith("kubectl lvmiscsi")
]
OTHER_PV = "pvc-5d0f1c7e-1b9a-4c55-8f5e-0a4de61f2b90"
LOGS_PV = "pvc-c81a9f02-77aa-4a0b-b7a3-2f6d1c0e9d44"


def attaching(desk: Workstation) -> None:
    why = (
        "rpc error: code = Unavailable desc = storage-1 has no running storage pod: see that node "
        "storage-1 is up (`kubectl get node storage-1`), that it has the label "
        f"{names.STORAGE_LABEL}=true (or those of the chart's storage.nodeSelector), and what its "
        "pod of csi-lvm-iscsi-storage says."
    )
    states = [operator_says.attaching(why), operator_says.attached()]
    desk.cluster["lists"] = [[operator_says.nothing()]]
    desk.cluster["watches"] = [[{"type": "MODIFIED", "object": each} for each in states]]


def detaching(desk: Workstation) -> None:
    desk.has(plugin.HOTPLUGS, operator_says.attached())
    desk.cluster["lists"] = [[operator_says.leaving()]]
    states = [
        operator_says.asked_to_detach(),
        operator_says.let_go_by_kubevirt(seconds=1),
        operator_says.let_go_by_kubevirt(seconds=60),
    ]
    events = [{"type": "MODIFIED", "object": each} for each in states]
    desk.cluster["watches"] = [[*events, {"type": "DELETED", "object": states[-1]}]]


def in_use(desk: Workstation) -> None:
    claims = claim("data", pv=PV), claim("logs", pv=LOGS_PV, size="2Gi"), claim("new", size="1Gi")
    desk.has(plugin.CLAIMS, *claims, claim("shop", "team", pv=OTHER_PV, size="50Gi"))
    logs = volume(LOGS_PV, f"66c20073-{LOGS_PV}", "logs")
    shop = volume(OTHER_PV, f"76a86632-{OTHER_PV}", "shop", "team")
    desk.has(plugin.VOLUMES, volume(PV, HANDLE, "data"), logs, shop)
    other_group = "q1SdF3-aaaa-bbbb-cccc-dddd-eeee-ffffff"
    desk.has(plugin.HOSTS, storage_node("storage-1"), storage_node("storage-2", other_group))
    desk.has(plugin.HOTPLUGS, operator_says.attached())
    desk.has(plugin.GUESTS, guest("c2", "compute-1", "data"))
    desk.has("pods", pod("shop-0", "team", node="compute-2", claims=("shop",)))
    desk.has("volumeattachments", attachment(PV, "compute-1"), attachment(OTHER_PV, "compute-2"))


def examined(desk: Workstation) -> None:
    label = {"csi-lvm-iscsi.github.io/storage": "true"}
    desk.has("nodes", node("storage-1", **label), node("compute-1"))
    desk.has("pods", role_pod("storage", "storage-1"), role_pod("node", "compute-1"))
    linux = {"kubernetes.io/os": "linux"}
    both = workload("DaemonSet", "storage", label), workload("DaemonSet", "node", linux)
    desk.has(plugin.WORKLOADS, *both)
    desk.has(plugin.HOSTS, storage_node("storage-1"))
    desk.has("storageclasses", {"metadata": metadata("thin"), "provisioner": plugin.DRIVER})
    new = claim("new", storage_class="thin")
    desk.has(plugin.CLAIMS, new)
    why = "storage-1: vg0/pool has no room for 10 GiB"
    desk.has("events", event(new, "Warning", "ProvisioningFailed", why))
    zeros = "vg0/pool does not zero new blocks: a volume could show another tenant's data"
    fix = "lvchange --zero y vg0/pool"
    thin_pool, clock = findings.error("thin pool", zeros, fix), findings.ok("clock", "synchronised")
    desk.cluster["exec"] = {
        "csi-lvm-iscsi-storage-storage-1": says("storage", clock, thin_pool),
        "csi-lvm-iscsi-node-compute-1": says("node", clock),
    }


def says(role: str, *found: findings.Finding) -> Object:
    return {"stdout": report.as_json(role, {}, found)}


SCENES: Mapping[str, Callable[[Workstation], None]] = {
    "attach": attaching,
    "detach": detaching,
    "attachments": in_use,
    "doctor": examined,
}


def test_each_verb_is_shown() -> None:
    assert {command.split()[2] for command, _ in EXAMPLES} == set(SCENES)


@pytest.mark.parametrize(("command", "shown"), EXAMPLES)
def test_example(desk: Workstation, command: str, shown: str) -> None:
    words = shlex.split(command)[2:]
    SCENES[words[0]](desk)
    assert desk.run(*words, mixed=True).out == shown


def test_each_flag_is_told() -> None:
    for flag in plugin._WORDS:
        if flag.startswith("-"):
            assert f"`{flag}" in PAGE, flag
