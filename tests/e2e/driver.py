"""The driver in the lab, spoken to as Kubernetes does: by CSI calls, in its order."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tests.e2e.lab.csi import CallFailed
from tests.e2e.lab.csi import call as csi_call
from tests.e2e.lab.errors import HostGone
from tests.e2e.lab.host import Host
from tests.e2e.lab.lab import Lab

T = TypeVar("T")
MIB = 1 << 20
GIB = 1 << 30
WRITER = "SINGLE_NODE_WRITER"
DIRECTORY = "/run/test"
"""Where volumes are staged and published in the compute hosts."""

RETRY_PAUSE = 0.2


class Refused(Exception):
    """The driver answered a call with an error."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


def capability(
    *, block: bool, mode: str = WRITER, fs_type: str = "", mount_flags: tuple[str, ...] = ()
) -> dict[str, Any]:
    """A VolumeCapability: raw block, or a mounted file system."""
    mount = {"fs_type": fs_type, "mount_flags": mount_flags}
    access = {"block": {}} if block else {"mount": mount}
    return {**access, "access_mode": {"mode": mode}}


def content_source(source: str) -> dict[str, Any]:
    """A VolumeContentSource: the id of a snapshot or of a volume."""
    if "-s." in source:
        return {"snapshot": {"snapshot_id": source}}
    return {"volume": {"volume_id": source}}


@dataclass(frozen=True)
class Volume:
    """A volume as its user knows it."""

    id: str
    name: str
    block: bool
    contexts: dict[str, dict[str, str]] = field(default_factory=dict)
    """The publish_context of each node that has it."""
    fs_type: str = ""
    mode: str = WRITER
    mount_flags: tuple[str, ...] = ()

    @property
    def staging_path(self) -> str:
        return f"{DIRECTORY}/staging/{self.name}"

    @property
    def target_path(self) -> str:
        return f"{DIRECTORY}/published/{self.name}"

    @property
    def data_path(self) -> str:
        """Where a pod would write: the device itself, or a file in the file system."""
        return self.target_path if self.block else f"{self.target_path}/data"

    @property
    def capability(self) -> dict[str, Any]:
        return capability(
            block=self.block, mode=self.mode, fs_type=self.fs_type, mount_flags=self.mount_flags
        )


class Driver:
    """The driver's CSI sockets. What makes the calls must be inside the lab's network."""

    def __init__(self, lab: Lab, call: Callable[[str, str, str], str] = csi_call) -> None:
        self._lab = lab
        self._make = call

    def controller(self, method: str, **request: Any) -> dict[str, Any]:  # noqa: ANN401
        """Call the controller."""
        return self._call("storage-1", "controller", method, request)

    def node(self, host: str, method: str, **request: Any) -> dict[str, Any]:  # noqa: ANN401
        """Call the node plugin of a host."""
        return self._call(host, "node", method, request)

    def _call(self, host: str, role: str, method: str, request: dict[str, Any]) -> dict[str, Any]:
        address = self._lab.host(host).csi_address(role)
        try:
            answer: dict[str, Any] = json.loads(self._make(address, method, json.dumps(request)))
        except CallFailed as error:
            details = json.loads(str(error))
            raise Refused(details["code"], details["message"]) from None
        return answer

    def create(
        self,
        name: str,
        *,
        block: bool = True,
        size: int = 64 * MIB,
        fs_type: str = "",
        mode: str = WRITER,
        source: str = "",
        **parameters: str,
    ) -> Volume:
        """Create a volume, as for a new PVC; with the data of a snapshot or volume if one is given.
        It is asked for again while data is copied, as external-provisioner does."""
        request: dict[str, Any] = {
            "name": name,
            "capacity_range": {"required_bytes": size},
            "volume_capabilities": [capability(block=block, fs_type=fs_type, mode=mode)],
            "parameters": parameters,
        }
        if source:
            request["volume_content_source"] = content_source(source)
        answer = insist(
            lambda: self.controller("CreateVolume", **request), *(["ABORTED"] if source else [])
        )
        return Volume(answer["volume"]["volumeId"], name, block, fs_type=fs_type, mode=mode)

    def expand(self, volume: Volume, size: int) -> int:
        """Grow a volume, as external-resizer does; its size then."""
        answer = self.controller(
            "ControllerExpandVolume",
            volume_id=volume.id,
            capacity_range={"required_bytes": size},
            volume_capability=volume.capability,
        )
        return int(answer["capacityBytes"])

    def delete(self, volume: Volume) -> None:
        """Delete a volume."""
        self.controller("DeleteVolume", volume_id=volume.id)

    def snapshot(self, name: str, volume: Volume) -> str:
        """Take a snapshot; its id."""
        answer = self.controller("CreateSnapshot", name=name, source_volume_id=volume.id)
        return str(answer["snapshot"]["snapshotId"])

    def delete_snapshot(self, snapshot_id: str) -> None:
        """Delete a snapshot."""
        self.controller("DeleteSnapshot", snapshot_id=snapshot_id)

    def publish(self, volume: Volume, node: str) -> dict[str, str]:
        """Export a volume to a node, as external-attacher does."""
        answer = self.controller(
            "ControllerPublishVolume",
            volume_id=volume.id,
            node_id=node,
            volume_capability=volume.capability,
        )
        volume.contexts[node] = answer["publishContext"]
        return volume.contexts[node]

    def unpublish(self, volume: Volume, node: str) -> None:
        """Fence a node off a volume."""
        self.controller("ControllerUnpublishVolume", volume_id=volume.id, node_id=node)
        volume.contexts.pop(node, None)

    def stage(self, volume: Volume, node: str) -> None:
        """Log in, and make and mount the file system, as kubelet asks before the first pod."""
        self._make_directory(node, volume.staging_path)
        self.node(node, "NodeStageVolume", **self._stage_request(volume, node))

    def _stage_request(self, volume: Volume, node: str) -> dict[str, Any]:
        return {
            "volume_id": volume.id,
            "publish_context": volume.contexts[node],
            "staging_target_path": volume.staging_path,
            "volume_capability": volume.capability,
        }

    def unstage(self, volume: Volume, node: str) -> None:
        """Unmount and log out."""
        self.node(
            node,
            "NodeUnstageVolume",
            volume_id=volume.id,
            staging_target_path=volume.staging_path,
        )

    def publish_to_pod(self, volume: Volume, node: str, *, readonly: bool = False) -> None:
        """Bind the volume to where a pod sees it."""
        self._make_directory(node, f"{DIRECTORY}/published")
        self.node(
            node,
            "NodePublishVolume",
            **self._stage_request(volume, node),
            target_path=volume.target_path,
            readonly=readonly,
        )

    def _make_directory(self, node: str, path: str) -> None:
        """As kubelet does before it calls. A node that loses its power meanwhile makes no call."""
        try:
            self._lab.host(node).exec("mkdir", "-p", path).check()
        except HostGone as error:
            raise Refused("UNAVAILABLE", str(error)) from error

    def unpublish_from_pod(self, volume: Volume, node: str) -> None:
        """Take it away from the pod."""
        self.node(node, "NodeUnpublishVolume", volume_id=volume.id, target_path=volume.target_path)

    def expand_on(self, volume: Volume, node: str, size: int) -> None:
        """Have a node take note of a volume's new size, as kubelet does."""
        self.node(
            node,
            "NodeExpandVolume",
            volume_id=volume.id,
            volume_path=volume.target_path,
            staging_target_path=volume.staging_path,
            capacity_range={"required_bytes": size},
            volume_capability=volume.capability,
        )

    def grow(self, volume: Volume, node: str, size: int) -> None:
        """Grow a volume that a pod on `node` uses."""
        self.expand(volume, size)
        self.expand_on(volume, node, size)

    def attach(self, volume: Volume, node: str) -> None:
        """All that happens until a pod on `node` sees the volume."""
        self.publish(volume, node)
        self.stage(volume, node)
        self.publish_to_pod(volume, node)

    def detach(self, volume: Volume, node: str) -> None:
        """All that happens when the pod is gone."""
        self.unpublish_from_pod(volume, node)
        self.unstage(volume, node)
        self.unpublish(volume, node)


def insist(call: Callable[[], T], *codes: str, seconds: float = 60) -> T:
    """Make a call again while it is refused with one of `codes`, as kubelet and the sidecars do."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return call()
        except Refused as error:
            if error.code not in codes or time.monotonic() > deadline:
                raise
        time.sleep(RETRY_PAUSE)


def write_pattern(host: Host, volume: Volume, text: str, mib: int = 4) -> None:
    """Fill the first MiBs of the volume, as a pod would, and wait until they are on the disk."""
    script = 'yes "$1" | head -c "$3" | dd of="$2" bs=1M iflag=fullblock conv=fsync,notrunc'
    host.exec("sh", "-c", script, "sh", text, volume.data_path, str(mib * MIB)).check()


def checksum(host: Host, volume: Volume, mib: int = 4) -> str:
    """The checksum of the first MiBs, read from the device and not from a cache."""
    script = 'dd if="$1" bs=1M count="$2" iflag=direct 2>/dev/null | sha256sum'
    return host.exec("sh", "-c", script, "sh", volume.data_path, str(mib)).check().text.split()[0]
