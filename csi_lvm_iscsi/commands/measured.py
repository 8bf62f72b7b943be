"""How many commands are run, and how long they take."""

import time
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram

from csi_lvm_iscsi.commands.runner import Completed, Runner, Where
from csi_lvm_iscsi.model.errors import DriverError

_BUCKETS = (0.005, 0.02, 0.1, 0.5, 1, 2, 5, 10, 30, 120)


class MeasuredRunner:
    """A Runner that measures another."""

    def __init__(self, runner: Runner, registry: CollectorRegistry) -> None:
        self._runner = runner
        self._seconds = Histogram(
            "csi_lvm_iscsi_command_seconds",
            "Time that commands took, by program; of lvm by its verb.",
            ("command",),
            registry=registry,
            buckets=_BUCKETS,
        )
        self._failures = Counter(
            "csi_lvm_iscsi_command_failures_total",
            "Commands that ended with an unexpected exit code, or not in time.",
            ("command",),
            registry=registry,
        )

    async def run(
        self,
        *argv: str,
        where: Where,
        seconds: float,
        expect: Sequence[int] = (0,),
        kill: bool = True,
    ) -> Completed:
        """Run a command; see Runner.run."""
        command = argv[1] if argv[0] == "lvm" else argv[0]
        started = time.monotonic()
        try:
            return await self._runner.run(
                *argv, where=where, seconds=seconds, expect=expect, kill=kill
            )
        except DriverError:
            self._failures.labels(command).inc()
            raise
        finally:
            self._seconds.labels(command).observe(time.monotonic() - started)
