"""Messages and codes that the pages quote are those of the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from csi_lvm_iscsi.model import errors
from csi_lvm_iscsi.rpc.errors import status_of
from tests.unit.pages.reading import CHART, ROOT, SPAN, by_name, spans

QUOTING = [ROOT / "docs" / name for name in (
    "access-modes.md", "networking.md", "security.md", "storage-hosts.md", "troubleshooting.md",
)]  # fmt: skip

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

_COMMAND = re.compile(
    r"(csi-lvm-iscsi|fuser|grep|helm|kubectl|lsblk|lsof|lvchange|lvextend|lvs|modprobe|nc|ping"
    r"|systemctl|vgextend|vgs|--[\w-]+) "
)


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
        for span in spans(page)
        if span.count(" ") >= 2 and "=" not in span and not _COMMAND.match(span)
    ]


@by_name(QUOTING)
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
        for _, quote in SPAN.findall(row[1]):
            parts = [each.strip() for each in quote.split("…")]
            codes = {code for message, code in raised if _follow(parts, message)}
            assert not codes or row[2].strip() in codes, quote


def test_nothing_is_said_that_the_code_does_not_say() -> None:
    assert _is_said("Volume … is published to node …, …, and cannot be published … to another")
    assert _is_said("Login to … at … failed: …iscsid does not answer on this node")
    assert not _is_said("Volume … is published to node …: unpublish it, please.")
    assert not _is_said("to another … Volume … is published")


def test_messages_of_others_are_quoted_somewhere() -> None:
    quoted = {each for page in QUOTING for each in spans(page)}
    assert quoted >= OF_OTHERS
