"""What the plugin says where it cannot do its work, and that it needs nothing but Python."""

import ast
import signal
from pathlib import Path

import pytest

from csi_lvm_iscsi.kubectl import plugin
from csi_lvm_iscsi.model import names
from tests.unit.kubectl.objects import GROUP_UUID, HANDLE
from tests.unit.kubectl.workstation import Ran, Workstation

# As kubectl 1.37 prints them, its log lines included.
REFUSED = (
    'E1128 14:02:11.511823 4711 memcache.go:265] "Unhandled Error" err="couldn\'t get current '
    'server API group list: Get \\"https://10.0.0.1:6443/api?timeout=30s\\": connection refused"\n'
    "The connection to the server 10.0.0.1:6443 was refused - did you specify the right host or "
    "port?\n"
)
INVALID = (
    'The VolumeHotplug "c2-Data" is invalid: \n'
    '* metadata.name: Invalid value: "c2-Data": it should be lower case\n'
    "* spec.serial: Invalid value: \"a b\": it should match '[a-z]'\n"
)
CLUSTER_INFO = "See that `kubectl cluster-info` works, or choose another cluster with --context."
LOOKUP = "Unable to connect to the server: dial tcp: lookup api.example: no such host"
LOGIN = "error: You must be logged in to the server (Unauthorized)"
CONTEXT = 'error: context "east" does not exist'


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (REFUSED, f"specify the right host or port. {CLUSTER_INFO}"),
        (LOOKUP, f"{LOOKUP}. {CLUSTER_INFO}"),
        (LOGIN, f"{LOGIN}. Log in to the cluster again."),
        (CONTEXT, f"{CONTEXT}. `kubectl config get-contexts` shows those you have."),
        ("something new", "something new."),
        (REFUSED.partition("\n")[0], 'connection refused".'),
        (INVALID, f"{' '.join(INVALID.splitlines())}."),
        (" ", "kubectl failed silently."),
    ],
)
def test_what_kubectl_complains_of(desk: Workstation, said: str, told: str) -> None:
    desk.cluster["down"] = said
    ran = desk.run("attach", "data", "--vm", "c2")
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.startswith("error: ")
    assert ran.err.endswith(told + "\n")
    assert len(ran.err.splitlines()) == 1


def test_what_kubectl_logs_is_left_out_where_it_says_more(desk: Workstation) -> None:
    desk.cluster["down"] = REFUSED
    assert "memcache" not in desk.run("attach", "data", "--vm", "c2").err


def test_a_kubectl_that_does_not_read_what_it_is_given(desk: Workstation) -> None:
    """It fails before that. What it is given here does not fit into a pipe."""
    kubectl = desk.directory / "kubectl"
    kubectl.write_text(kubectl.read_text().replace("json.load(sys.stdin)", 'fail("no")'))
    ran = desk.run("attach", "data", "--vm", "c2", f"--serial={'s' * 100_000}")
    assert (ran.status, ran.err) == (1, "error: no.\n")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("kubectl-lvmiscsi", ("attach", "data", "--vm", "c2")),
        ("kubectl-lvmiscsi", ("attachments",)),
        ("kubectl-lvmiscsi", ("doctor",)),
        ("kubectl_complete-lvmiscsi", ("attach", "")),
    ],
)
def test_interrupted(desk: Workstation, name: str, words: tuple[str, ...]) -> None:
    """At once and without a word. A shell has 130 for that."""
    assert desk.interrupt(*words, name=name) == Ran(-signal.SIGINT, "", "")


@pytest.mark.parametrize("verb", ["attachments", "doctor"])
def test_a_cluster_that_is_away_is_told_once(desk: Workstation, verb: str) -> None:
    """Not by each of the questions that are asked at once."""
    desk.cluster["down"] = LOOKUP
    ran = desk.run(verb)
    assert (ran.status, ran.out) == (1, "")
    assert ran.err == f"error: {LOOKUP}. {CLUSTER_INFO}\n"


@pytest.mark.parametrize("is_there", [True, False])
def test_without_kubectl(desk: Workstation, *, is_there: bool) -> None:
    kubectl = desk.directory / "kubectl"
    kubectl.chmod(0o644) if is_there else kubectl.unlink()
    ran = desk.run("attachments")
    assert ran.status == 1
    assert ran.err == (
        "error: There is no kubectl on the PATH: install it "
        "(https://kubernetes.io/docs/tasks/tools).\n"
    )


@pytest.mark.parametrize(
    "words", [(), ("attach", "data"), ("attach", "--vm", "c2"), ("attachments", "-o", "yaml")]
)
def test_wrong_words(desk: Workstation, words: tuple[str, ...]) -> None:
    ran = desk.run(*words)
    assert ran.status == 2
    assert "usage: kubectl lvmiscsi" in ran.err


def test_the_language_is_that_of_older_pythons() -> None:
    ast.parse(Path(plugin.__file__).read_text(), feature_version=(3, 9))


def test_it_makes_the_hash_of_a_volume_group_as_the_driver_does() -> None:
    assert plugin.volume_group_hash(GROUP_UUID) == names.volume_group_hash(GROUP_UUID)
    assert names.volume_id(GROUP_UUID, HANDLE[9:]) == HANDLE
    assert plugin.DRIVER == names.DRIVER
