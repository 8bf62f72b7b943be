"""Options, values, metrics and alerts that the pages name are there."""

from __future__ import annotations

import argparse
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from csi_lvm_iscsi import cli
from tests.unit.pages.reading import (
    CHART,
    PAGES,
    ROOT,
    by_name,
    lines_of_commands,
    objects,
    spans,
)

BOOTSTRAP = "csi-lvm-iscsi-bootstrap"

_OURS = re.compile(
    r"(kubectl .* -- )?csi-lvm-iscsi (storage|node|controller|operator|bootstrap|adopt|doctor)\b"
)
_VALUE = re.compile(
    r"(global|image|storage|tgtd|node|controller|operator|sidecars|snapshots|monitoring)"
    r"(\.\w+)+"
)


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


@by_name(PAGES)
def test_options_on_command_lines_exist(page: Path) -> None:
    for line in lines_of_commands(page):
        if _OURS.match(line):
            _parse(line)


def test_unknown_options_are_found() -> None:
    with pytest.raises(AssertionError):
        _parse("csi-lvm-iscsi doctor node --portals 10.77.0.11:3260")


def test_the_rotation_of_the_chap_key_runs_bootstrap_with_that_option() -> None:
    """The Job of the page: that of the CronJob, with one more argument."""
    page = (ROOT / "docs/security.md").read_text()
    ((patch,),) = [json.loads(each) for each in re.findall(r"-p '(\[\{\"op\".*?\])'", page)]
    (cron,) = [each for each in objects("CronJob") if each["metadata"]["name"] == BOOTSTRAP]
    assert f"--from=cronjob/{BOOTSTRAP}" in page
    spec = cron["spec"]["jobTemplate"]["spec"]
    assert (patch["op"], patch["path"]) == ("add", "/spec/template/spec/containers/0/args/-")
    arguments = [*spec["template"]["spec"]["containers"][0]["args"], patch["value"]]
    assert cli._parser().parse_args(arguments).last_chap_key == "k2"


@by_name([each for each in PAGES if each.name != "CONTRIBUTING.md"])
def test_values_exist(page: Path) -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    text = page.read_text()
    named = {each for each in spans(page) if _VALUE.fullmatch(each)}
    named |= {each[0] for each in re.findall(r"--set '?(([a-z]\w*)(\.\w+)*)(?==)", text)}
    for name in named:
        found: Any = values
        for key in name.split("."):
            assert key in found, name
            found = found[key]


@by_name(PAGES)
def test_metrics_and_alerts_exist(page: Path) -> None:
    """docs/metrics.md is held to the roles by another test."""
    metrics = set(
        re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/metrics.md").read_text(), re.MULTILINE)
    )
    alerts = set(re.findall(r"alert: (\w+)", (CHART / "files/alerts.yaml").read_text()))
    text = page.read_text()
    assert set(re.findall(r"\bcsi_lvm_iscsi_\w+", text)) <= metrics
    assert set(re.findall(r"\bCsiLvmIscsi\w+", text)) <= alerts


def test_whoever_installs_it_has_built_the_image() -> None:
    """None is published. The chart asks for the tag of its version."""
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    for page in (ROOT / "README.md", ROOT / "docs/install.md"):
        commands = list(lines_of_commands(page))
        (install,) = [each for each in commands if each.startswith("helm install ")]
        (repository,) = re.findall(r"--set image\.repository=(\S+)", install)
        for verb in ("build", "push"):
            (command,) = [each for each in commands if each.startswith(f"docker {verb} ")]
            assert f"{repository}:{version}" in command.split(), page


def test_whoever_installs_it_lets_its_pods_in() -> None:
    """A cluster that enforces another level refuses them in a namespace without the label."""
    label = "kubectl label namespace csi-lvm-iscsi pod-security.kubernetes.io/enforce=privileged"
    for page in (ROOT / "README.md", ROOT / "docs/install.md"):
        commands = [each.partition("#")[0].strip() for each in lines_of_commands(page)]
        (install,) = [each for each in commands if each.startswith("helm install ")]
        assert "--create-namespace" not in install, page
        assert commands.index(label) < commands.index(install), page
