"""Runs all of Kubernetes' own storage tests that are for the lab, and writes what came of them.

A lab is brought up for it; with LAB_KEEP=1 the one in $LAB_DIR is used if it is up, and stays up.
Outcomes are kept in $LAB_DIR.suite: a run that was interrupted goes on where it was. The exit
status is 0 if no spec failed.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from tests.e2e import conformance
from tests.e2e.kubernetes.sessions import with_suite
from tests.e2e.kubernetes.suite import page, specs
from tests.e2e.kubernetes.suite.runs import Runs


def main() -> int:
    """Run, and write docs/conformance.md; the exit status."""
    options = _options()
    with with_suite() as cluster:
        directory = Path(f"{cluster.directory}.suite")
        if options.fresh:
            shutil.rmtree(directory, ignore_errors=True)
        runs, every = Runs(cluster, directory), specs.every()
        wanted = [spec for spec in every if not specs.why_not_run(spec) and options.only in spec]
        try:
            outcomes = runs.run(wanted, lambda text: print(text, flush=True))
        finally:  # also of a run that is interrupted, and goes on another time
            known = {spec: outcome for spec in every if (outcome := runs.known(spec))}
            conformance.write_section(page.TITLE, page.section(every, known))
    bad = [outcome for outcome in outcomes if not outcome.is_good]
    print(f"{len(outcomes)} specs, {len(bad)} failed; logs are in {directory}")
    return 1 if bad else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.e2e.kubernetes.suite",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--fresh", action="store_true", help="forget the outcomes of earlier runs")
    parser.add_argument("--only", default="", metavar="TEXT", help="specs with this in their names")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
