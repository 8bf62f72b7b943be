"""Which parts of KubeVirt are down, by their pods."""

import datetime as dt
from collections.abc import Iterable, Iterator

from csi_lvm_iscsi.operator.hotplug.objects import Outage, time_of
from csi_lvm_iscsi.storage_client.api_server import Object

API, CONTROLLER, HANDLER = "virt-api", "virt-controller", "virt-handler"
_LABEL = "kubevirt.io"
SELECTOR = f"{_LABEL} in ({API},{CONTROLLER},{HANDLER})"
"""The pods of the parts."""


def outages(pods: Iterable[Object], node: str) -> Iterator[Outage]:
    """The parts of which no pod is ready; of virt-handler, that of the machine's node counts."""
    pods = list(pods)
    for part in (API, CONTROLLER, HANDLER):
        found = [
            each
            for each in pods
            if each["metadata"]["labels"][_LABEL] == part
            and (part != HANDLER or each["spec"].get("nodeName") == node)
        ]
        states = [_ready(each) for each in found]
        if (part != HANDLER or node) and not any(each.get("status") == "True" for each in states):
            where = f" of node {node}" if part == HANDLER else ""
            yield Outage(part, f"No pod of {part}{where} is ready.", _since(states))


def _ready(pod: Object) -> Object:
    conditions: list[Object] = pod.get("status", {}).get("conditions") or []
    return next((each for each in conditions if each["type"] == "Ready"), {})


def _since(states: Iterable[Object]) -> dt.datetime | None:
    """Since when the last of them is not ready."""
    times = [time_of(each.get("lastTransitionTime")) for each in states]
    return max((each for each in times if each), default=None)
