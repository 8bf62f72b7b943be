"""Links lead somewhere, and every page is linked."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

from tests.unit.pages.reading import CHART, PAGES, ROOT, by_name, prose, spans


@cache
def _anchors(page: Path) -> frozenset[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    plain = [re.sub(r"\[([^]]*)\]\([^)]*\)|`", r"\1", each).lower() for each in headings]
    return frozenset(re.sub(r"[^\w\- ]", "", each).replace(" ", "-") for each in plain)


@by_name([*PAGES, CHART / "README.md"])
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        other = (page.parent / path).resolve() if path else page
        assert other.exists(), target
        if anchor:
            assert anchor in _anchors(other), target


@by_name(PAGES)
def test_files_of_the_repository_that_are_named_are_there(page: Path) -> None:
    words = [word for span in spans(page) for word in span.split()]
    named = [each for each in words if re.fullmatch(r"(csi_lvm_iscsi|deploy|tests)/[\w./-]+", each)]
    assert [each for each in named if not (ROOT / each).exists()] == []


def test_every_target_that_tests_is_told() -> None:
    targets = re.findall(r"^(test[a-z-]*|conformance[a-z-]*):", _read("Makefile"), re.MULTILINE)
    assert len(targets) > 5
    told = f"{_read('CONTRIBUTING.md')}{_read('README.md')}"
    assert [each for each in targets if not re.search(rf"make {each}\b(?!-)", told)] == []


def test_make_help_lists_every_target_that_is_told_of() -> None:
    told = re.findall(r"^([^\s:]+):.*## ", _read("Makefile"), re.MULTILINE)
    assert "e2e" in told
    command = ["make", "--no-print-directory", "help"]
    shown = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert [line.split()[0] for line in shown.splitlines()] == told


def _read(name: str) -> str:
    return (ROOT / name).read_text()


def test_every_page_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        assert f"(docs/{page.name})" in readme
