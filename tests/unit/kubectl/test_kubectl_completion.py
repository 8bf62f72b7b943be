"""What kubectl's completion is told, and how it learns whom to ask."""

import subprocess

import pytest

from csi_lvm_iscsi.kubectl import plugin
from tests.unit.kubectl.objects import claim, metadata
from tests.unit.kubectl.workstation import Workstation

PASSED_ON = ["--namespace", "--context", "--cluster", "--user", "--as", "--kubeconfig"]
DETACH = ["--vm", "--force", "--wait", "--timeout", *PASSED_ON]
VERBS = ["attach", "detach", "attachments", "doctor", "completion"]


@pytest.fixture
def busy(desk: Workstation) -> Workstation:
    desk.has(
        plugin.CLAIMS, claim("data"), claim("logs"), claim("data", "team"), claim("d2", "team")
    )
    desk.has(plugin.MACHINES, *({"metadata": metadata(name, "default")} for name in ("c1", "c2")))
    desk.has("namespaces", *({"metadata": metadata(name)} for name in ("default", "team")))
    return desk


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ([""], VERBS),
        (["att"], ["attach", "attachments"]),
        (["-"], PASSED_ON),
        (["-n", "team", "d"], ["detach", "doctor"]),
        (["attach", ""], ["data", "logs"]),
        (["attach", "l"], ["logs"]),
        (["-n", "team", "attach", "d"], ["data", "d2"]),
        (["attach", "--namespace=team", "d"], ["data", "d2"]),
        (["attach", "--wait", "l"], ["logs"]),
        (["detach", "data", ""], DETACH),
        (["detach", "--v"], ["--vm"]),
        (["attach", "data", "--vm", ""], ["c1", "c2"]),
        (["attach", "data", "--vm", "c2"], ["c2"]),
        (["attach", "data", "--vm=c2"], ["c2"]),
        (["attach", "data", "--bus", ""], ["scsi", "virtio"]),
        (["attach", "data", "--bus=v"], ["virtio"]),
        (["attach", "data", "-n", "t"], ["team"]),
        (["attachments", "-o", ""], ["wide", "json"]),
        (["doctor", "--output", ""], ["json"]),
        (["doctor", "--context", ""], ["admin@east", "dev/west"]),
        (["attach", "--serial", ""], []),
        (["attach", "--context", "--vm", ""], []),
        (["nonsense", ""], PASSED_ON),
    ],
)
def test_what_can_come_next(busy: Workstation, words: list[str], found: list[str]) -> None:
    assert busy.complete(*words) == found


def test_it_says_what_each_is_for(desk: Workstation) -> None:
    ran = desk.run("de", name="kubectl_complete-lvmiscsi")
    assert ran.out == "detach\tTake a claim from a VM\n:4\n"
    ran = desk.run("attach", "--bu", name="kubectl_complete-lvmiscsi")
    assert ran.out == "--bus\tof the disk in the VM\n:4\n"


@pytest.mark.parametrize("words", [("--kubeconfig", "/e"), ("attach", "--kubeconfig=/e")])
def test_for_a_file_the_shell_offers_files(desk: Workstation, words: tuple[str, ...]) -> None:
    assert desk.run(*words, name="kubectl_complete-lvmiscsi").out == ":0\n"


def test_a_cluster_that_is_away_offers_nothing(desk: Workstation) -> None:
    desk.cluster["down"] = "Unable to connect to the server: no route to host"
    ran = desk.run("attach", "", name="kubectl_complete-lvmiscsi")
    assert (ran.status, ran.out, ran.err) == (0, ":4\n", "")


def test_the_script_of_completion_makes_the_program_that_kubectl_asks(desk: Workstation) -> None:
    program = desk.directory / "kubectl_complete-lvmiscsi"
    program.unlink()
    script = desk.run("completion").out
    subprocess.run(["sh", "-e"], input=script, text=True, check=True, timeout=30)
    assert program.resolve() == desk.directory / "kubectl-lvmiscsi"
    assert desk.complete("doc") == ["doctor"]
