"""Events of StorageNodes: what an admin sees in `kubectl describe storagenode`."""

import datetime as dt
import socket

import structlog

from csi_lvm_iscsi.model.errors import DriverError
from csi_lvm_iscsi.storage_client import storage_node
from csi_lvm_iscsi.storage_client.api_server import ApiServer
from csi_lvm_iscsi.storage_client.storage_node import StorageNode

# Those of objects that are in no namespace are kept in this one (client-go, tools/record).
_PATH = "/api/v1/namespaces/default/events"
_COMPONENT = "csi-lvm-iscsi-operator"
_MESSAGE_LENGTH = 1024
_log = structlog.get_logger()


def timestamp() -> str:
    """Now, as Kubernetes writes it."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def tell(
    api: ApiServer, node: StorageNode, reason: str, message: str, *, warning: bool
) -> None:
    """Make an Event; one that cannot be made is logged, and holds nothing up."""
    time = timestamp()
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": f"{node.name}.", "namespace": "default"},
        "involvedObject": {
            "apiVersion": storage_node.API_VERSION,
            "kind": storage_node.KIND,
            "name": node.name,
            "uid": node.uid,
        },
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
    log(message, storage_node=node.name, reason=reason)
    try:
        await api.create(_PATH, event)
    except DriverError as error:
        _log.warning("no event could be made", storage_node=node.name, error=str(error))
