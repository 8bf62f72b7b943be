"""What the pages say of the code is so: links, messages, options, values, metrics, ports."""

from __future__ import annotations

import argparse
import ast
import itertools
import json
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from csi_lvm_iscsi import cli
from csi_lvm_iscsi.model import errors
from csi_lvm_iscsi.rpc.errors import status_of

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy/helm/csi-lvm-iscsi"
PAGES = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
QUOTING = [ROOT / "docs" / name for name in (
    "access-modes.md", "networking.md", "security.md", "storage-hosts.md", "troubleshooting.md",
)]  # fmt: skip
BOOTSTRAP = "csi-lvm-iscsi-bootstrap"

OF_OTHERS = {
    # Kubernetes 1.37: pkg/controller/volume/attachdetach/reconciler/reconciler.go
    'Waiting for detach for volume "…"',
    'Waiting for detach for volume "…" Volume is already used by pod(s) …',
    (
        "Volume is already exclusively attached to one node, waiting on detach before it can be "
        "attached to another node"
    ),
    # the same before that
    'Multi-Attach error for volume "…"',
    # pkg/volume/util/operationexecutor/operation_generator.go
    'AttachVolume.Attach failed for volume "…"',
    'MountVolume.MountDevice failed for volume "…"',
    "MapVolume.SetUpDevice failed …",
    "MountVolume.SetUp failed …",
    # pkg/controller/volume/persistentvolume/pv_controller.go
    "waiting for first consumer to be created before binding",
    "Waiting for a volume to be created either by the external provisioner …",
    # pkg/volume/util/resize_util.go
    "Waiting for user to (re-)start a pod to finish file system resize of volume on node.",
    # pkg/scheduler/framework/plugins/volumerestrictions/volume_restrictions.go
    (
        "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode "
        "already in-use by another pod"
    ),
    # pkg/scheduler/framework/plugins/volumebinding
    "pod has unbound immediate PersistentVolumeClaims",
    "node(s) did not have enough free storage",
    "node(s) didn't match PersistentVolume's node affinity",
    # csi-lib-utils, accessmodes/access_modes.go
    "CSI does not support ReadOnlyMany and ReadWriteOnce on the same PersistentVolume",
    # the kernel
    "No space left on device",
    # gRPC
    "Hostname Verification Check failed",
}
"""Messages that the pages quote of other projects."""

_SPAN = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.DOTALL)
_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(
    r"(csi-lvm-iscsi|fuser|grep|helm|kubectl|lsblk|lsof|lvchange|lvextend|lvs|modprobe|nc|ping"
    r"|systemctl|vgextend|vgs|--[\w-]+) "
)
_OURS = re.compile(
    r"(kubectl .* -- )?csi-lvm-iscsi (storage|node|controller|operator|bootstrap|adopt|doctor)\b"
)
_VALUE = re.compile(
    r"(global|image|storage|tgtd|node|controller|operator|sidecars|snapshots|monitoring)"
    r"(\.\w+)+"
)


def _prose(page: Path) -> str:
    """The page without its blocks of code."""
    return _BLOCK.sub("", page.read_text())


def _spans(page: Path) -> Iterator[str]:
    """What stands between backquotes, on one line."""
    for found in _SPAN.finditer(_prose(page)):
        yield " ".join(found[2].split())


def _by_name(paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("page", paths, ids=lambda page: page.name)


# Links


@cache
def _anchors(page: Path) -> frozenset[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", _prose(page), re.MULTILINE)
    plain = [re.sub(r"\[([^]]*)\]\([^)]*\)|`", r"\1", each).lower() for each in headings]
    return frozenset(re.sub(r"[^\w\- ]", "", each).replace(" ", "-") for each in plain)


@_by_name([*PAGES, CHART / "README.md"])
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", _prose(page)):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        other = (page.parent / path).resolve() if path else page
        assert other.exists(), target
        if anchor:
            assert anchor in _anchors(other), target


def test_every_page_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        assert f"(docs/{page.name})" in readme


# Messages


def _text(node: ast.expr) -> str:
    """A string of the code, with `…` for what is put in; empty: it is none."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(each) or "…" for each in node.values)
    return ""


@cache
def _messages() -> tuple[str, ...]:
    """All strings of the driver, and of the policy of its chart."""
    found = {"Without StorageNode … the volumes of that host count as deleted."}
    policy = (CHART / "templates/storagenode-policy.yaml").read_text()
    assert '"Without StorageNode " + oldObject.metadata.name + " the volumes of that' in policy
    for path in sorted((ROOT / "csi_lvm_iscsi").rglob("*.py")):
        tree = ast.parse(path.read_text())
        documentation = {each.value for each in ast.walk(tree) if isinstance(each, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.expr) and node not in documentation and (text := _text(node)):
                found.add(" ".join(text.split()))
    return tuple(found)


def _is_said(quote: str) -> bool:
    """Whether the code says it: what stands between two `…` is of one string, in its order; a part
    of some length may be of another one, as messages are put into messages."""
    parts = [each.strip() for each in quote.split("…") if each.strip(" .:()`'\"")]
    return any(_follow(parts, message) for message in _messages()) or any(
        _is_said("…".join(parts[:cut])) and _is_said("…".join(parts[cut:]))
        for cut in range(1, len(parts))
        if all(len(" ".join(some)) >= 12 for some in (parts[:cut], parts[cut:]))
    )


def _follow(parts: list[str], message: str) -> bool:
    at = 0
    for part in parts:
        at = message.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return True


def _quotes(page: Path) -> list[str]:
    return [
        span
        for span in _spans(page)
        if span.count(" ") >= 2 and "=" not in span and not _COMMAND.match(span)
    ]


@_by_name(QUOTING)
def test_quoted_messages_are_those_of_the_code(page: Path) -> None:
    quotes = _quotes(page)
    assert quotes
    assert [each for each in quotes if each not in OF_OTHERS and not _is_said(each)] == []


_WAITING = {"until", "until_async", "bounded", "within"}


def _raised() -> Iterator[tuple[str, str]]:
    """Each message that an error is made with, and the gRPC status that the error becomes."""
    for path in sorted((ROOT / "csi_lvm_iscsi").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
                name = "TookTooLong" if node.func.id in _WAITING else node.func.id
                kind = getattr(errors, name, None)
                if isinstance(kind, type) and (text := _text(node.args[-1])):
                    yield text, status_of(kind()).name


def test_codes_are_those_of_the_code() -> None:
    raised = list(_raised())
    page = (ROOT / "docs/troubleshooting.md").read_text()
    tables = re.findall(r"^\| message \| code \| fix \|\n.*\n((?:\|.*\n)+)", page, re.MULTILINE)
    rows = [row.split("|") for table in tables for row in table.splitlines()]
    assert len(rows) > 50
    for row in rows:
        for _, quote in _SPAN.findall(row[1]):
            parts = [each.strip() for each in quote.split("…")]
            codes = {code for message, code in raised if _follow(parts, message)}
            assert not codes or row[2].strip() in codes, quote


def test_nothing_is_said_that_the_code_does_not_say() -> None:
    assert _is_said("Volume … is published to node …, …, and cannot be published … to another")
    assert _is_said("Login to … at … failed: …iscsid does not answer on this node")
    assert not _is_said("Volume … is published to node …: unpublish it, please.")
    assert not _is_said("to another … Volume … is published")


def test_messages_of_others_are_quoted_somewhere() -> None:
    quoted = {each for page in QUOTING for each in _spans(page)}
    assert quoted >= OF_OTHERS


# Command lines


def _lines(page: Path) -> Iterator[str]:
    """The lines of commands, also those that go on in the next one."""
    blocks = "\n".join(found[3] for found in _BLOCK.finditer(page.read_text()))
    yield from re.sub(r"\\\n", " ", blocks).splitlines()
    yield from _spans(page)


def _parse(line: str) -> None:
    """Have the driver's parser take the options of a command line, whatever else it lacks."""
    words = shlex.split(re.sub(r"\[|\]|\.\.\.", "", line.partition("#")[0].partition("| ")[0]))
    words = words[words.index("csi-lvm-iscsi") + 1 :]
    parser: argparse.ArgumentParser | None = cli._parser()
    while parser:
        deeper = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
        choices = deeper[0].choices if deeper else {}
        following = [each for each in words if each in choices]
        if not following:
            break
        parser = choices[following[0]]
        words = words[words.index(following[0]) + 1 :]
    assert parser
    known = {option for each in parser._actions for option in each.option_strings}
    assert {word for word in words if word.startswith("--")} <= known, line


@_by_name(PAGES)
def test_options_on_command_lines_exist(page: Path) -> None:
    for line in _lines(page):
        if _OURS.match(line):
            _parse(line)


def test_unknown_options_are_found() -> None:
    with pytest.raises(AssertionError):
        _parse("csi-lvm-iscsi doctor node --portals 10.77.0.11:3260")


def test_the_rotation_of_the_chap_key_runs_bootstrap_with_that_option() -> None:
    """The Job of the page: that of the CronJob, with one more argument."""
    page = (ROOT / "docs/security.md").read_text()
    ((patch,),) = [json.loads(each) for each in re.findall(r"-p '(\[\{\"op\".*?\])'", page)]
    (cron,) = [each for each in _objects("CronJob") if each["metadata"]["name"] == BOOTSTRAP]
    assert f"--from=cronjob/{BOOTSTRAP}" in page
    spec = cron["spec"]["jobTemplate"]["spec"]
    assert (patch["op"], patch["path"]) == ("add", "/spec/template/spec/containers/0/args/-")
    arguments = [*spec["template"]["spec"]["containers"][0]["args"], patch["value"]]
    assert cli._parser().parse_args(arguments).last_chap_key == "k2"


# Values, metrics, alerts


@_by_name([each for each in PAGES if each.name != "CONTRIBUTING.md"])
def test_values_exist(page: Path) -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    text = page.read_text()
    named = {each for each in _spans(page) if _VALUE.fullmatch(each)}
    named |= {each[0] for each in re.findall(r"--set '?(([a-z]\w*)(\.\w+)*)(?==)", text)}
    for name in named:
        found: Any = values
        for key in name.split("."):
            assert key in found, name
            found = found[key]


@_by_name(PAGES)
def test_metrics_and_alerts_exist(page: Path) -> None:
    """docs/metrics.md is held to the roles by another test."""
    metrics = set(
        re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/metrics.md").read_text(), re.MULTILINE)
    )
    alerts = set(re.findall(r"alert: (\w+)", (CHART / "files/alerts.yaml").read_text()))
    text = page.read_text()
    assert set(re.findall(r"\bcsi_lvm_iscsi_\w+", text)) <= metrics
    assert set(re.findall(r"\bCsiLvmIscsi\w+", text)) <= alerts


# What the manifests have


def test_whoever_installs_it_has_built_the_image() -> None:
    """None is published. The chart asks for the tag of its version."""
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    for page in (ROOT / "README.md", ROOT / "docs/install.md"):
        commands = list(_lines(page))
        (install,) = [each for each in commands if each.startswith("helm install ")]
        (repository,) = re.findall(r"--set image\.repository=(\S+)", install)
        for verb in ("build", "push"):
            (command,) = [each for each in commands if each.startswith(f"docker {verb} ")]
            assert f"{repository}:{version}" in command.split(), page


def test_what_stays_after_an_uninstall_is_told() -> None:
    told = " ".join(first for first, _ in _table("install.md", "what"))
    how = " ".join(last for _, last in _table("install.md", "what"))
    (bootstrap,) = [
        each for each in _objects("Role") if each["metadata"]["name"] == "csi-lvm-iscsi-bootstrap"
    ]
    for rule in bootstrap["rules"]:
        for secret in rule.get("resourceNames", ()):
            assert f"`{secret}`" in told
    for crd in _objects("CustomResourceDefinition"):
        annotations = crd["metadata"]["annotations"]
        assert annotations["helm.sh/resource-policy"] == "keep"
        assert f"kubectl delete crd {crd['metadata']['name']}" in how


def _objects(*kinds: str) -> list[dict[str, Any]]:
    manifests = (ROOT / "deploy/manifests/csi-lvm-iscsi.yaml").read_text()
    return [each for each in yaml.safe_load_all(manifests) if each and each["kind"] in kinds]


def _pods() -> dict[str, dict[str, Any]]:
    """The pod specs, by their component."""
    found = {}
    for each in _objects("Deployment", "DaemonSet", "CronJob"):
        spec = each["spec"]
        spec = spec["jobTemplate"]["spec"] if each["kind"] == "CronJob" else spec
        found[each["metadata"]["name"].removeprefix("csi-lvm-iscsi-")] = spec["template"]["spec"]
    return found


def _table(page: str, first: str) -> list[list[str]]:
    """The rows of the table whose head begins with this cell."""
    text = (ROOT / "docs" / page).read_text()
    rows = text.partition(f"| {first} |")[2].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_privileges_are_those_of_the_manifests() -> None:
    accounts = {each["metadata"]["name"]: each for each in _objects("ServiceAccount")}
    pods = _pods()
    rows = _table("security.md", "pod")
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
    for account, where, *cells in _table("security.md", "account"):
        for column, cell in zip(("reads", "makes", "changes", "deletes"), cells, strict=True):
            for own, resource in re.findall(r"(own )?`([\w/]+)`", cell):
                told[account, where, column, resource] = bool(own)
    given: dict[tuple[str, str, str, str], bool] = {}
    for each in _objects("Role", "ClusterRole"):
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
    for row in _table("networking.md", "from"):
        ends = [int(each) for each in re.findall(r"\d+", row[2])]
        told |= set(range(ends[0], ends[-1] + 1))
    assert told == opened | {3260, 443}
