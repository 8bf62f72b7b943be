"""CSI Node: from protobuf to the flows and back."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.message import Message
from grpc import aio
from prometheus_client import CollectorRegistry

from csi_lvm_iscsi.commands.runner import Runner
from csi_lvm_iscsi.initiator import host_rules
from csi_lvm_iscsi.initiator.attachments import Attachments
from csi_lvm_iscsi.initiator.device_mapper import Control, DeviceMapper
from csi_lvm_iscsi.initiator.devices import Devices
from csi_lvm_iscsi.initiator.host_paths import HostPaths
from csi_lvm_iscsi.initiator.maps import Maps
from csi_lvm_iscsi.initiator.node_records import NodeRecords
from csi_lvm_iscsi.initiator.path_upkeep import PathUpkeep
from csi_lvm_iscsi.initiator.paths import Paths
from csi_lvm_iscsi.initiator.reach import Probe, connects
from csi_lvm_iscsi.initiator.sessions import Sessions
from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.model.access import Capability
from csi_lvm_iscsi.model.errors import InvalidArgument, NotFound
from csi_lvm_iscsi.model.health import Trouble
from csi_lvm_iscsi.model.in_flight import InFlight
from csi_lvm_iscsi.model.publications import Publication
from csi_lvm_iscsi.node import staged
from csi_lvm_iscsi.node.bind_mounts import BindMounts
from csi_lvm_iscsi.node.expansion import Expansion
from csi_lvm_iscsi.node.filesystems import FileSystems
from csi_lvm_iscsi.node.metrics import node_metrics
from csi_lvm_iscsi.node.mounts import Mounts
from csi_lvm_iscsi.node.registration import Registration
from csi_lvm_iscsi.node.staged import Staged
from csi_lvm_iscsi.node.staging import Staging
from csi_lvm_iscsi.node.volume_paths import VolumePaths
from csi_lvm_iscsi.node.volume_stats import Usage, VolumeStats
from csi_lvm_iscsi.records.directory import RecordDirectory
from csi_lvm_iscsi.rpc import metrics, server
from csi_lvm_iscsi.rpc.capabilities import capability_of
from csi_lvm_iscsi.rpc.identity import IdentityService
from csi_lvm_iscsi.rpc.pb import csi_pb2, csi_pb2_grpc

_CAPABILITIES = (
    csi_pb2.NodeServiceCapability.RPC.STAGE_UNSTAGE_VOLUME,
    csi_pb2.NodeServiceCapability.RPC.EXPAND_VOLUME,
    csi_pb2.NodeServiceCapability.RPC.GET_VOLUME_STATS,
    csi_pb2.NodeServiceCapability.RPC.GET_VOLUME_HEALTH,
    csi_pb2.NodeServiceCapability.RPC.SINGLE_NODE_MULTI_WRITER,
)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the role is told at its start."""

    endpoint: str
    node_id: str
    keys: Mapping[str, bytes]
    state_directory: Path
    zone: str = ""
    registration_directory: Path | None = None


@dataclass(frozen=True, slots=True)
class Flows:
    """The flows of the role, wired to one host."""

    staging: Staging
    bind_mounts: BindMounts
    expansion: Expansion
    volume_stats: VolumeStats
    path_upkeep: PathUpkeep


def wire(
    settings: Settings,
    runner: Runner,
    paths: HostPaths,
    mapper: DeviceMapper | None = None,
    probe: Probe = connects,
) -> Flows:
    """Put the flows together. Raises DriverError where the host lacks what they need."""
    node_records = NodeRecords(runner, paths.iscsi, names.initiator_iqn(settings.node_id))
    node_records.ensure_interface()
    devices = Devices(paths.sys, paths.dev)
    sessions = Sessions(runner, paths.sys)
    maps = Maps(paths.sys, paths.dev, mapper or Control(paths.dev / "mapper" / "control"))
    paths_of_volumes = Paths(node_records, sessions, devices, maps, probe)
    attachments = Attachments(
        records=node_records,
        sessions=sessions,
        devices=devices,
        maps=maps,
        paths=paths_of_volumes,
        keys=settings.keys,
    )
    mounts = Mounts(runner, paths.mountinfo)
    records = _staged_records(settings)
    file_systems = FileSystems(runner, devices, mounts)
    in_flight = InFlight()
    boot_id = paths.boot_id.read_text().strip()
    volume_paths = VolumePaths(records, mounts, boot_id)
    return Flows(
        Staging(
            records=records,
            attachments=attachments,
            devices=devices,
            file_systems=file_systems,
            mounts=mounts,
            in_flight=in_flight,
            boot_id=boot_id,
        ),
        BindMounts(records, attachments, mounts, in_flight),
        Expansion(volume_paths, attachments, devices, file_systems, in_flight),
        VolumeStats(volume_paths, attachments, devices, paths.sys),
        PathUpkeep(maps, paths_of_volumes, in_flight),
    )


def _staged_records(settings: Settings) -> RecordDirectory[Staged]:
    return RecordDirectory(settings.state_directory / "staged", staged.encode, staged.decode)


async def serve(settings: Settings, runner: Runner, registry: CollectorRegistry) -> None:
    """Serve CSI Identity and Node until the process is told to end."""
    paths = HostPaths()
    # The stubs call unimplemented verbs abstract; gRPC answers UNIMPLEMENTED for them.
    flows = wire(settings, runner, paths)
    node = NodeService(settings.node_id, flows, settings.zone)  # type: ignore[abstract]
    await host_rules.ensure(runner, paths)
    staged_volumes = _staged_records(settings)
    metrics.register(registry, lambda: node_metrics(paths.sys, staged_volumes.ids()))

    def add_services(to: aio.Server) -> None:
        csi_pb2_grpc.add_IdentityServicer_to_server(IdentityService(zones=bool(settings.zone)), to)
        csi_pb2_grpc.add_NodeServicer_to_server(node, to)

    beside = [flows.path_upkeep.run]
    if settings.registration_directory is not None:
        beside.append(Registration(settings.registration_directory, settings.endpoint).run)
    await server.serve(settings.endpoint, add_services, registry, beside=beside)


class NodeService(csi_pb2_grpc.NodeServicer):
    """CSI Node."""

    def __init__(self, node_id: str, flows: Flows, zone: str = "") -> None:
        self._node_id = node_id
        self._zone = zone
        self._flows = flows

    async def NodeGetInfo(
        self, request: csi_pb2.NodeGetInfoRequest, context: object
    ) -> csi_pb2.NodeGetInfoResponse:
        """Our name and zone. It waits for nothing: kubelet gives up on a plugin that does."""
        topology = csi_pb2.Topology(segments={names.ZONE_KEY: self._zone}) if self._zone else None
        return csi_pb2.NodeGetInfoResponse(node_id=self._node_id, accessible_topology=topology)

    async def NodeGetCapabilities(
        self, request: csi_pb2.NodeGetCapabilitiesRequest, context: object
    ) -> csi_pb2.NodeGetCapabilitiesResponse:
        """What we can."""
        return csi_pb2.NodeGetCapabilitiesResponse(
            capabilities=[
                csi_pb2.NodeServiceCapability(rpc=csi_pb2.NodeServiceCapability.RPC(type=kind))
                for kind in _CAPABILITIES
            ]
        )

    async def NodeStageVolume(
        self, request: csi_pb2.NodeStageVolumeRequest, context: object
    ) -> csi_pb2.NodeStageVolumeResponse:
        """Log in, identify, make a file system where there is nothing, mount."""
        _require(request, "volume_id", "staging_target_path", "volume_capability")
        await self._flows.staging.stage(
            self._publication(request),
            _path(request.staging_target_path),
            self._capability(request),
        )
        return csi_pb2.NodeStageVolumeResponse()

    async def NodeUnstageVolume(
        self, request: csi_pb2.NodeUnstageVolumeRequest, context: object
    ) -> csi_pb2.NodeUnstageVolumeResponse:
        """Unmount, write out, log out."""
        _require(request, "volume_id", "staging_target_path")
        await self._flows.staging.unstage(request.volume_id, _path(request.staging_target_path))
        return csi_pb2.NodeUnstageVolumeResponse()

    async def NodePublishVolume(
        self, request: csi_pb2.NodePublishVolumeRequest, context: object
    ) -> csi_pb2.NodePublishVolumeResponse:
        """Bind what is staged to the path of a pod."""
        _require(request, "volume_id", "target_path", "volume_capability")
        _require(request, "staging_target_path")
        await self._flows.bind_mounts.publish(
            self._publication(request),
            _path(request.staging_target_path),
            _path(request.target_path),
            self._capability(request),
            read_only=request.readonly,
        )
        return csi_pb2.NodePublishVolumeResponse()

    async def NodeUnpublishVolume(
        self, request: csi_pb2.NodeUnpublishVolumeRequest, context: object
    ) -> csi_pb2.NodeUnpublishVolumeResponse:
        """Take it from that path."""
        _require(request, "volume_id", "target_path")
        await self._flows.bind_mounts.unpublish(request.volume_id, _path(request.target_path))
        return csi_pb2.NodeUnpublishVolumeResponse()

    async def NodeExpandVolume(
        self, request: csi_pb2.NodeExpandVolumeRequest, context: object
    ) -> csi_pb2.NodeExpandVolumeResponse:
        """Have the disk and its file system as large as the volume has become."""
        _require(request, "volume_id", "volume_path")
        size = await self._flows.expansion.expand(
            request.volume_id,
            _volume_path(request.volume_path),
            request.capacity_range.required_bytes,
            request.capacity_range.limit_bytes,
        )
        return csi_pb2.NodeExpandVolumeResponse(capacity_bytes=size)

    async def NodeGetVolumeStats(
        self, request: csi_pb2.NodeGetVolumeStatsRequest, context: object
    ) -> csi_pb2.NodeGetVolumeStatsResponse:
        """How full it is."""
        _require(request, "volume_id", "volume_path")
        stats = await self._flows.volume_stats.stats(
            request.volume_id, _volume_path(request.volume_path)
        )
        usage = [_usage(csi_pb2.VolumeUsage.BYTES, stats.bytes)]
        if stats.inodes is not None:
            usage.append(_usage(csi_pb2.VolumeUsage.INODES, stats.inodes))
        return csi_pb2.NodeGetVolumeStatsResponse(usage=usage)

    async def NodeGetVolumeHealth(
        self, request: csi_pb2.NodeGetVolumeHealthRequest, context: object
    ) -> csi_pb2.NodeGetVolumeHealthResponse:
        """What is wrong with it here."""
        _require(request, "volume_id")
        path = request.volume_publish_path or request.staging_target_path
        troubles = await self._flows.volume_stats.health(
            request.volume_id, _volume_path(path) if path else None
        )
        return csi_pb2.NodeGetVolumeHealthResponse(
            volume_health=csi_pb2.VolumeHealth(
                volume_id=request.volume_id, health_statuses=map(_health_entry, troubles)
            )
        )

    def _capability(
        self, request: csi_pb2.NodeStageVolumeRequest | csi_pb2.NodePublishVolumeRequest
    ) -> Capability:
        capability = capability_of(request.volume_capability)
        capability.check()
        return capability

    def _publication(
        self, request: csi_pb2.NodeStageVolumeRequest | csi_pb2.NodePublishVolumeRequest
    ) -> Publication:
        return Publication.from_context(request.volume_id, self._node_id, request.publish_context)


_Request = (
    csi_pb2.NodeStageVolumeRequest
    | csi_pb2.NodeUnstageVolumeRequest
    | csi_pb2.NodePublishVolumeRequest
    | csi_pb2.NodeUnpublishVolumeRequest
    | csi_pb2.NodeExpandVolumeRequest
    | csi_pb2.NodeGetVolumeStatsRequest
    | csi_pb2.NodeGetVolumeHealthRequest
)


def _require(request: _Request, *fields: str) -> None:
    """Raise InvalidArgument for a field that the request lacks."""
    for field in fields:
        value = getattr(request, field)
        if not (value.ByteSize() if isinstance(value, Message) else value):
            raise InvalidArgument(f"The request has no {field}: set it.")


def _usage(unit: csi_pb2.VolumeUsage.Unit.ValueType, usage: Usage) -> csi_pb2.VolumeUsage:
    return csi_pb2.VolumeUsage(
        unit=unit, total=usage.total, used=usage.used, available=usage.available
    )


def _health_entry(trouble: Trouble) -> csi_pb2.VolumeHealth.VolumeHealthEntry:
    return csi_pb2.VolumeHealth.VolumeHealthEntry(
        status=csi_pb2.VolumeHealthErrorType.Value(trouble.kind.value),
        reason=trouble.reason,
        message=trouble.message,
    )


def _path(text: str) -> Path:
    """A path as mountinfo shows it: kubelet's directory may be behind a symbolic link. Only the
    parent is looked up, as looking at what is mounted on the path itself may hang."""
    path = Path(text)
    if not path.is_absolute():
        raise InvalidArgument(f"The path {text!r} is not absolute: give it from / on.")
    return path.parent.resolve() / path.name


def _volume_path(text: str) -> Path:
    """Where a volume is said to be. csi-sanity has it that none is where the path is relative:
    NotFound, not InvalidArgument."""
    try:
        return _path(text)
    except InvalidArgument as error:
        raise NotFound(str(error)) from None
