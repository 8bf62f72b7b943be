"""What others give as the reason for a wait: of all that they said, what helps the user most."""

import datetime as dt
import re
from collections.abc import Iterable
from dataclasses import dataclass

from csi_lvm_iscsi.operator.hotplug.objects import Told, time_of
from csi_lvm_iscsi.operator.hotplug.world import World
from csi_lvm_iscsi.storage_client.api_server import Object

# Kubelet's remarks on any pod, which hold nothing up (pkg/kubelet/network/dns/dns.go).
_REMARKS = ("MissingClusterDNS", "DNSConfigForming")
_FOREVER_AGO = dt.datetime.min.replace(tzinfo=dt.UTC)
# Kubelet and the attach-detach controller put several layers of their own before what the driver
# said.
_GRPC = re.compile(r".*\brpc error: code = \w+ desc = ", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Subject:
    """An object whose events are read."""

    kind: str
    name: str
    uid: str
    """Empty where it is not known."""

    told_as: str
    since: dt.datetime | None = None
    """What is older is of another wait."""


def complaint(world: World) -> str:
    """The newest reason that anybody gave for a wait, as a sentence; empty where nobody did."""
    said = [*world.told]
    said += [error for each in world.attachments for error in each.errors]
    if world.running:
        said += world.running.troubles
    if world.machine:
        said += world.machine.troubles
    if world.kubevirt and world.kubevirt.unavailable:
        said.append(Told("KubeVirt", world.kubevirt.unavailable))
    return newest(said)


def newest(said: Iterable[Told]) -> str:
    """The newest of several reasons, as a sentence; empty where there is none."""
    found = max(said, key=lambda each: each.at or _FOREVER_AGO, default=None)
    return in_words(found) if found else ""


def in_words(said: Told) -> str:
    """What was said, and who did."""
    return f"{said.by}: {in_short(said.message)}"


def in_short(message: str) -> str:
    """A message without what was put before the driver's own words."""
    return _GRPC.sub("", message).strip()


def warnings(events: Iterable[Object], about: Subject) -> list[Told]:
    """The warnings among events that are of this object, and not of one of the same name that was
    there before, nor older than what is waited for now."""
    return [
        Told(f"{about.told_as} ({each.get('reason', '')})", each.get("message", ""), _time(each))
        for each in events
        if each.get("type") == "Warning"
        and each.get("reason") not in _REMARKS
        and _is_of(each, about.uid)
        and (_time(each) or _FOREVER_AGO) >= (about.since or _FOREVER_AGO)
    ]


def _time(event: Object) -> dt.datetime | None:
    series = event.get("series") or {}
    return time_of(
        series.get("lastObservedTime")
        or event.get("lastTimestamp")
        or event.get("eventTime")
        or event.get("firstTimestamp")
    )


def _is_of(event: Object, uid: str) -> bool:
    of = (event.get("involvedObject") or {}).get("uid", "")
    return not of or not uid or bool(of == uid)
