"""Specs of Kubernetes' own suite are run: each by a process of its own, and its outcome is kept.

So a run that was interrupted goes on where it was, and a spec that failed has its own log.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tests.e2e.kubernetes.suite import specs
from tests.e2e.lab.kubernetes import builds
from tests.e2e.lab.kubernetes.cluster import Cluster

AT_ONCE = 3
"""Specs wait for pods to start most of their time."""

SPEC_MINUTES = 20
SHORT = 300
"""Characters of a failure's message that are shown."""


class Outcome(NamedTuple):
    """What came of a spec: `passed`, `skipped`, `failed` or as Ginkgo has it, and what it said."""

    spec: str
    state: str
    seconds: float
    message: str

    @property
    def is_good(self) -> bool:
        return self.state in {"passed", "skipped"}

    def __str__(self) -> str:
        message = " ".join(self.message.split())[:SHORT]
        return f"{self.state} in {self.seconds:.0f} s: {self.spec}" + (message and f": {message}")


class Runs:
    """The outcomes and logs in a directory."""

    def __init__(self, cluster: Cluster, directory: Path) -> None:
        self._cluster = cluster
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    def run(self, wanted: Iterable[str], report: Callable[[str], None]) -> list[Outcome]:
        """The outcomes of all these; specs that have a good one are not run again."""
        known = {spec: self.known(spec) for spec in wanted}
        left = [spec for spec, outcome in known.items() if not (outcome and outcome.is_good)]
        count = len(left)

        def run_one(numbered: tuple[int, str]) -> None:
            number, spec = numbered
            outcome = self._run(spec)
            report(f"[{number} of {count}] {outcome}")

        numbered = list(enumerate(left, 1))
        with ThreadPoolExecutor(AT_ONCE) as threads:
            list(threads.map(run_one, (each for each in numbered if "[Serial]" not in each[1])))
        for each in numbered:
            if "[Serial]" in each[1]:
                run_one(each)
        return [outcome for spec in known if (outcome := self.known(spec))]

    def known(self, spec: str) -> Outcome | None:
        """What came of a spec when it was run last."""
        kept = self._place(spec, "outcome")
        return Outcome(**json.loads(kept.read_text())) if kept.exists() else None

    def _run(self, spec: str) -> Outcome:
        report = self._place(spec, "report")
        report.unlink(missing_ok=True)
        command = [
            *specs.program(),
            f"--kubeconfig={self._cluster.control_plane.kubeconfig()}",
            f"--kubectl-path={builds.BIN / 'kubectl'}",
            f"--ginkgo.focus={_pattern(specs.PREFIX + spec)}$",
            f"--ginkgo.timeout={SPEC_MINUTES}m",
            f"--ginkgo.json-report={report}",
        ]
        with self._place(spec, "log").open("wb") as log:
            subprocess.run(
                self._cluster.network.command(*command),
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        outcome = self._outcome(spec, report)
        self._place(spec, "outcome").write_text(json.dumps(outcome._asdict()))
        report.unlink(missing_ok=True)
        return outcome

    def _outcome(self, spec: str, report: Path) -> Outcome:
        found = specs.reported(report) if report.exists() else []
        mine = next((each for each in found if specs.name(each) == spec), None)
        if mine is None:
            return Outcome(spec, "failed", 0, f"e2e.test ended early: {self._place(spec, 'log')}")
        message = mine.get("Failure", {}).get("Message", "")
        return Outcome(spec, mine["State"], mine["RunTime"] / 1e9, message)

    def _place(self, spec: str, kind: str) -> Path:
        return self._directory / f"{hashlib.sha256(spec.encode()).hexdigest()[:12]}.{kind}"


def _pattern(text: str) -> str:
    """A regular expression for it in Go's language, which forbids the `\\ ` of re.escape."""
    return re.sub(r"([\\.+*?()|\[\]{}^$])", r"\\\1", text)
