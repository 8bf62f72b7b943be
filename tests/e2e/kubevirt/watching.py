"""When an object changed, as its watchers saw it."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.e2e.kubernetes.user import User, until


class Watched:
    """What a jsonpath has shown of objects, and at which second of the monotonic clock."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, str]] = []

    def first(self, is_meant: Callable[[str], bool]) -> float:
        """When something like this was seen first; waits for it."""

        def found() -> float:
            return next((when for when, text in self.seen if is_meant(text)), 0)

        return until(found, lambda: f"seen: {[text for _, text in self.seen]}")


@contextmanager
def watched(user: User, resource: str, shown: str) -> Iterator[Watched]:
    """`kubectl get RESOURCE --watch` while the context lasts, with this jsonpath."""
    namespace, path = f"--namespace={user.namespace}", f'--output=jsonpath={shown}{{"\\n"}}'
    command = user.cluster.command("kubectl", namespace, "get", resource, "--watch", path)
    found = Watched()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:

        def read() -> None:
            assert process.stdout
            for line in process.stdout:
                found.seen.append((time.monotonic(), line))

        reader = threading.Thread(target=read)
        reader.start()
        try:
            yield found
        finally:
            process.terminate()
            reader.join()
