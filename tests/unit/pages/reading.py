"""Reading the pages and the manifests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
CHART = ROOT / "deploy/helm/csi-lvm-iscsi"
PAGES = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])

SPAN = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.DOTALL)
BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)


def prose(page: Path) -> str:
    """The page without its blocks of code."""
    return BLOCK.sub("", page.read_text())


def spans(page: Path) -> Iterator[str]:
    """What stands between backquotes, on one line."""
    for found in SPAN.finditer(prose(page)):
        yield " ".join(found[2].split())


def by_name(paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("page", paths, ids=lambda page: page.name)


def lines_of_commands(page: Path) -> Iterator[str]:
    """The lines of commands, also those that go on in the next one."""
    blocks = "\n".join(found[3] for found in BLOCK.finditer(page.read_text()))
    yield from re.sub(r"\\\n", " ", blocks).splitlines()
    yield from spans(page)


def table(page: str, first: str) -> list[list[str]]:
    """The rows of the table whose head begins with this cell."""
    text = (ROOT / "docs" / page).read_text()
    rows = text.partition(f"| {first} |")[2].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def objects(*kinds: str) -> list[dict[str, Any]]:
    manifests = (ROOT / "deploy/manifests/csi-lvm-iscsi.yaml").read_text()
    return [each for each in yaml.safe_load_all(manifests) if each and each["kind"] in kinds]
