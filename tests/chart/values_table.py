"""The table of values in the chart's README.md, made of the comments `# --` in values.yaml."""

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

from tests.chart.charts import CHART

_KEY = re.compile(r"^( *)([A-Za-z]\w*):")
BEGIN, END = "<!-- values -->\n", "<!-- end of values -->\n"


def documented() -> dict[str, str]:
    """The description of each documented value, by its path."""
    descriptions: dict[str, str] = {}
    path: list[tuple[int, str]] = []
    text: list[str] = []
    for line in (CHART / "values.yaml").read_text().splitlines():
        comment = line.strip()
        if comment.startswith("# -- "):
            text = [comment.removeprefix("# -- ")]
        elif comment.startswith("# ") and text:
            text.append(comment.removeprefix("# "))
        elif key := _KEY.match(line):
            indent = len(key[1])
            path = [each for each in path if each[0] < indent] + [(indent, key[2])]
            if text:
                descriptions[".".join(name for _, name in path)] = " ".join(text)
            text = []
        else:
            text = []
    return descriptions


def defaults() -> dict[str, Any]:
    """The values of the chart."""
    values: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
    return values


def leaves(values: Any, path: str = "") -> Iterator[str]:  # noqa: ANN401
    """The paths of all values that are no objects."""
    if not isinstance(values, dict) or not values:
        yield path
        return
    for key, value in values.items():
        yield from leaves(value, f"{path}.{key}" if path else key)


def _default(path: str) -> str:
    value: Any = defaults()
    for key in path.split("."):
        value = value[key]
    if path == "storageClasses":
        return "three classes: " + ", ".join(f"`{name}`" for name in value)
    return f"`{json.dumps(value)}`"


def readme() -> str:
    """README.md with the table as it should be."""
    text = (CHART / "README.md").read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    rows = [f"| `{path}` | {_default(path)} | {what} |" for path, what in documented().items()]
    table = "\n".join(["| value | default | meaning |", "|---|---|---|", *rows])
    return f"{before}{BEGIN}{table}\n{END}{after}"
