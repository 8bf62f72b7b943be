"""The driver's services in containers, with what kubelet would mount into them: as a table."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass

from tests.e2e.lab.services import CHECKOUT, CONFIG, STATE, Service

PODS = "/run/test"
"""What stands for kubelet's directory: mounts below are seen by the host and in the container."""

SOCKETS = "/run/csi-lvm-iscsi"
REGISTRATION = f"{SOCKETS}/registry"
"""Where kubelet would look for plugins."""

# A loop of its own: a container runtime would wait ever longer before it starts it again.
TGTD_LOOP = """
trap 'kill -KILL $!; exit' TERM
while :; do
    "$@" &
    wait $!
    sleep 0.1
done
"""


@dataclass(frozen=True)
class Container:
    """How a service runs in a container."""

    mounts: tuple[str, ...]
    """Of the host's files: SOURCE:TARGET:ro, rw or shared."""

    own_processes: bool = False
    """Whether it is process 1 of a PID namespace of its own."""

    before: tuple[str, ...] = ()
    """What starts the command, ahead of it."""

    arguments: tuple[str, ...] = ()
    """What the command is told besides."""


_CONFIG = f"{CONFIG}:{CONFIG}:ro"
_STATE = f"{STATE}:{STATE}:rw"
_SOCKETS = f"{SOCKETS}:{SOCKETS}:rw"
_UDEV = "/run/udev:/run/udev:rw"
_TGTD = f"{SOCKETS}/tgtd:/var/run/tgtd:rw"

CONTAINERS = {
    "tgtd": Container((_TGTD,), own_processes=True, before=("sh", "-c", TGTD_LOOP, "sh")),
    "storage": Container((_CONFIG, _STATE, _UDEV, _TGTD)),
    "controller": Container((_CONFIG, _SOCKETS), own_processes=True),
    "node": Container(
        (_CONFIG, _STATE, _SOCKETS, _UDEV, f"{PODS}:{PODS}:shared"),
        arguments=("--registration-dir", REGISTRATION),
    ),
}
"""The services that run in containers; the others are the host's."""


def contained(service: Service) -> Service:
    """The service in its container, if it is one that runs in one."""
    container = CONTAINERS.get(service.name)
    if container is None:
        return service
    return dataclasses.replace(
        service,
        command=(
            *("/bin/bash", f"{CHECKOUT}/tests/e2e/lab/container.sh", service.name),
            "own" if container.own_processes else "host",
            *container.mounts,
            *_image(),
            "--",
            *container.before,
            *service.command,
            *container.arguments,
        ),
    )


def _image() -> list[str]:
    """The code and its Python, where these are in a directory that is empty in containers."""
    places = sorted({str(CHECKOUT), sys.prefix, sys.base_prefix})
    return [f"{place}:{place}:ro" for place in places if place.startswith(("/var/", "/run/"))]
