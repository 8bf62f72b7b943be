"""Events: what `kubectl describe` shows of an object."""

import datetime as dt
import socket
from dataclasses import dataclass

import structlog

from csi_lvm_iscsi.model.errors import DriverError
from csi_lvm_iscsi.storage_client.api_server import ApiServer

# Those of objects that are in no namespace are kept in this one (client-go, tools/record).
_NAMESPACE = "default"
_COMPONENT = "csi-lvm-iscsi-operator"
_MESSAGE_LENGTH = 1024
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Subject:
    """What an Event is about."""

    api_version: str
    kind: str
    namespace: str
    """Empty where it is in none."""

    name: str
    uid: str


def timestamp() -> str:
    """Now, as Kubernetes writes it."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def tell(api: ApiServer, about: Subject, reason: str, message: str, *, warning: bool) -> None:
    """Make an Event; one that cannot be made is logged, and holds nothing up."""
    time = timestamp()
    namespace = about.namespace or _NAMESPACE
    involved = {
        "apiVersion": about.api_version,
        "kind": about.kind,
        "namespace": about.namespace,
        "name": about.name,
        "uid": about.uid,
    }
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": f"{about.name}.", "namespace": namespace},
        "involvedObject": {field: value for field, value in involved.items() if value},
        "type": "Warning" if warning else "Normal",
        "reason": reason,
        "message": message[:_MESSAGE_LENGTH],
        "source": {"component": _COMPONENT},
        "reportingComponent": _COMPONENT,
        "reportingInstance": socket.gethostname(),
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
    }
    log = _log.warning if warning else _log.info
    named = {"kind": about.kind, "namespace": about.namespace, "name": about.name}
    log(message, reason=reason, **named)
    try:
        await api.create(f"/api/v1/namespaces/{namespace}/events", event)
    except DriverError as error:
        _log.warning("no event could be made", error=str(error), **named)
