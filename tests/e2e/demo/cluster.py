"""What the demos in a cluster have in common: its coming and going, and what its user does."""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Callable, Iterator
from typing import TypeVar

from tests.e2e.demo.scene import Mismatch
from tests.e2e.demo.screen import Screen
from tests.e2e.kubernetes.hosts import left_of_volumes
from tests.e2e.kubernetes.manifests import Object, listed
from tests.e2e.kubernetes.user import User, until
from tests.e2e.lab.kubernetes.cluster import Cluster

C = TypeVar("C", bound=Cluster)
_LONGEST_WAIT = 600
"""Seconds that a command of the demos may wait by itself."""


@contextlib.contextmanager
def shown_coming_up(
    cluster: C, screen: Screen, up: Callable[[C], None], *, keep: bool
) -> Iterator[C]:
    """The cluster, up; it goes down again unless it is to be kept."""
    if cluster.hosts or cluster.network.exists():
        screen.progress("an earlier demo left its lab: it is removed first")
        cluster.down(screen.progress)
    try:
        up(cluster)
        yield cluster
    finally:
        if keep:
            screen.line(_look_around(cluster))
        else:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # impatience must leave nothing behind
            try:
                screen.say("The lab goes down.")
            finally:  # also where nobody reads any more
                cluster.down()


def _look_around(cluster: Cluster) -> str:
    lab = f".venv/bin/python -m tests.e2e.lab --dir {cluster.directory}"
    return f"""
The lab stays up. To look around:
   {lab} kubectl get storagenodes,nodes
   {lab} kubectl -n csi-lvm-iscsi get pods
   {lab} exec storage-1 -- lvs
   {lab} down
"""


class Told:
    """A user whose commands are shown with what they print, and what is on the hosts of it."""

    def __init__(self, cluster: Cluster, screen: Screen) -> None:
        self.cluster = cluster
        self.screen = screen
        self.user = User(cluster, "default")

    def apply(self, name: str, *objects: Object) -> None:
        said = self.user.kubectl("apply", "--filename=-", stdin=json.dumps(listed(objects)))
        self.screen.evidence("you", f"kubectl apply -f {name}.yaml", said.splitlines())

    def kubectl(self, *arguments: str) -> None:
        said = self.user.kubectl(*arguments, waits=_LONGEST_WAIT)
        self.screen.evidence("you", f"kubectl {' '.join(arguments)}", said.splitlines())

    def shell(self, pod: str, script: str) -> list[str]:
        said = self.user.sh(pod, script).splitlines()
        self.screen.evidence("you", f"kubectl exec {pod} -- sh -c '{script}'", said)
        return said

    def host(self, host: str, command: str) -> list[str]:
        said = self.cluster.host(host).exec("sh", "-c", command).text.splitlines()
        self.screen.evidence(host, command, said)
        return said

    def check(self, holds: bool, claim: str) -> None:  # noqa: FBT001 - reads as an assertion
        if not holds:
            raise Mismatch(f"This does not hold: {claim}.")
        self.screen.proved(claim)

    def check_nothing_is_left(self) -> None:
        def left() -> list[str]:
            return left_of_volumes(self.cluster)

        until(lambda: not left(), lambda: f"left: {left()}")
        self.check(not left(), "no host has anything of the volume")
