"""The gate of Kubernetes' own storage tests."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.kubernetes.suite import specs
from tests.e2e.kubernetes.suite.runs import Runs
from tests.e2e.lab.kubernetes.cluster import Cluster


def test_the_gate(cluster: Cluster, tmp_path: Path) -> None:
    """Some specs of each kind. One that skips itself is no gate."""
    assert set(specs.GATE) <= set(specs.every())
    outcomes = Runs(cluster, tmp_path).run(specs.GATE, print)
    bad = [str(outcome) for outcome in outcomes if outcome.state != "passed"]
    assert not bad, "\n".join([f"{len(bad)} of {len(outcomes)} (logs in {tmp_path}):", *bad])
