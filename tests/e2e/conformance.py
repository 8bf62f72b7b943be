"""docs/conformance.md: sections that are each written by a run of tests."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tests.e2e.lab.services import CHECKOUT

FILE = CHECKOUT / "docs" / "conformance.md"


def section(title: str) -> str:
    """What the file has under a title; empty if it has no such."""
    return _sections().get(title, "")


def write_section(title: str, text: str) -> None:
    """Put a section in the place of the one with its title, or at the end."""
    sections = {**_sections(), title: text}
    parts = [f"## {each}\n\n{content.strip()}\n" for each, content in sections.items()]
    FILE.write_text("\n".join(["# Conformance\n", *parts]))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table."""
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def _sections() -> dict[str, str]:
    _, *parts = re.split(r"^## (.*)\n\n", FILE.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))
