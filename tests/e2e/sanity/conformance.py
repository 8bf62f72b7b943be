"""The part of docs/conformance.md that tells what came of csi-sanity's specs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from tests.e2e.conformance import table
from tests.e2e.sanity.program import VERSION
from tests.e2e.sanity.specs import DISABLED, PASSED, Spec

TITLE = "csi-sanity"

_HEAD = f"""\
Written by `make conformance`: what came of csi-sanity, of
[csi-test](https://github.com/kubernetes-csi/csi-test) {VERSION} (CSI 1.13), against the driver in
the lab, with file systems (`mount`) and with raw block volumes. `make test` runs it too, and fails
where something else comes out. A spec is left out only where the driver does not declare the
capability that it is for.
"""


def section(runs: Mapping[str, Sequence[Spec]], declared: Collection[str]) -> str:
    """The section for the runs by access type. AssertionError if a spec failed in one."""
    outcomes = {
        access_type: {spec.name: spec.outcome(declared) for spec in specs}
        for access_type, specs in runs.items()
    }
    names = sorted(set().union(*outcomes.values()))
    rows = [[name, *(outcomes[each].get(name, "absent") for each in runs)] for name in names]
    return "\n".join(
        [
            _HEAD,
            "Declared:",
            "",
            *(f"- {line}" for line in _declared(declared)),
            "",
            *table(["", *runs], _summary(outcomes)),
            "",
            *table(["spec", *runs], rows),
            "",
        ]
    )


def _declared(declared: Collection[str]) -> list[str]:
    by_service: dict[str, list[str]] = {}
    for capability in sorted(declared):
        service, _, name = capability.partition(" ")
        by_service.setdefault(service, []).append(name)
    return [f"{service}: {', '.join(names)}" for service, names in by_service.items()]


def _summary(outcomes: Mapping[str, Mapping[str, str]]) -> list[list[str]]:
    counts = {
        each: Counter(_kind(outcome) for outcome in of.values()) for each, of in outcomes.items()
    }
    kinds = sorted(set().union(*counts.values()), reverse=True)
    return [[kind, *(str(counts[each][kind]) for each in outcomes)] for kind in kinds]


def _kind(outcome: str) -> str:
    return outcome if outcome in (PASSED, DISABLED) else "not run: capability not declared"
