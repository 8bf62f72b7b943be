"""The part of docs/conformance.md that tells what came of Kubernetes' own suite."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from tests.e2e.conformance import table
from tests.e2e.kubernetes.suite import specs
from tests.e2e.kubernetes.suite.runs import Outcome
from tests.e2e.lab.kubernetes import builds

TITLE = "Kubernetes' own storage tests"
_HEAD = f"""\
Written by `make conformance-kubernetes`: what came of the specs that `e2e.test` of Kubernetes
{builds.version("k8s.io/kubernetes")} has for a driver with the capabilities in
tests/e2e/kubernetes/suite/driver.yaml (External Storage), in the lab's cluster, with the chart's
thin class. Those marked with `*` are the gate that `make test-kubernetes` runs.
"""


def section(names: Sequence[str], outcomes: Mapping[str, Outcome]) -> str:
    """All specs, and what came of each."""
    told = {name: _told(name, outcomes.get(name)) for name in names}
    counts = Counter(each.partition(":")[0] for each in told.values())
    return "\n".join(
        [
            _HEAD,
            *table(["", "specs"], [[kind, str(counts[kind])] for kind in sorted(counts)]),
            "",
            *table(["spec", "outcome"], [[_marked(name), told[name]] for name in names]),
            "",
        ]
    )


def _marked(name: str) -> str:
    shown = name.removeprefix("[Testpattern: ").replace("]", ":", 1)
    return f"{shown} `*`" if name in specs.GATE else shown


def _told(name: str, outcome: Outcome | None) -> str:
    if reason := specs.why_not_run(name):
        return f"not run: {reason}"
    if outcome is None:
        return "not run yet"
    message = " ".join(outcome.message.split()).replace("|", "/")[:200]
    kind = {"skipped": "skipped by itself"}.get(outcome.state, outcome.state)
    return f"{kind}: {message}" if message else kind
