"""What the wire may ask of the node."""

from pathlib import Path

import pytest

from csi_lvm_iscsi.model.errors import InvalidArgument, NotFound
from csi_lvm_iscsi.node.service import NodeService
from csi_lvm_iscsi.rpc.pb import csi_pb2
from tests.unit.node.host import Host, published

MODE = csi_pb2.VolumeCapability.AccessMode.SINGLE_NODE_WRITER
MULTI_NODE = csi_pb2.VolumeCapability.AccessMode.MULTI_NODE_MULTI_WRITER


def service(host: Host) -> NodeService:
    return NodeService("compute-1", host.flows())  # type: ignore[abstract]


def capability(
    mode: csi_pb2.VolumeCapability.AccessMode.Mode.ValueType = MODE, file_system: str = ""
) -> csi_pb2.VolumeCapability:
    return csi_pb2.VolumeCapability(
        mount=csi_pb2.VolumeCapability.MountVolume(fs_type=file_system),
        access_mode=csi_pb2.VolumeCapability.AccessMode(mode=mode),
    )


def stage_request(host: Host, **changed: object) -> csi_pb2.NodeStageVolumeRequest:
    fields: dict[str, object] = {
        "volume_id": published().volume_id,
        "staging_target_path": str(host.staging),
        "volume_capability": capability(),
        "publish_context": published().to_context(),
    }
    return csi_pb2.NodeStageVolumeRequest(**{**fields, **changed})  # type: ignore[arg-type]


async def test_a_mount_without_a_type_is_ext4(tmp_path: Path) -> None:
    host = Host(tmp_path, "blank", "blank")
    async with host.running():
        await service(host).NodeStageVolume(stage_request(host), None)
    assert host.commands[-1][:4] == ("mount", "--no-mtab", "--types", "ext4")


@pytest.mark.parametrize(
    "changed",
    [
        {"volume_id": ""},
        {"staging_target_path": ""},
        {"staging_target_path": "relative/path"},
        {"volume_capability": None},
        {"volume_capability": csi_pb2.VolumeCapability(access_mode=capability().access_mode)},
        {"volume_capability": capability(MULTI_NODE)},
        {"volume_capability": capability(file_system="zfs")},
        {"publish_context": {}},
    ],
)
async def test_requests_that_can_never_be_served(
    tmp_path: Path, changed: dict[str, object]
) -> None:
    host = Host(tmp_path, "blank")
    with pytest.raises(InvalidArgument):
        await service(host).NodeStageVolume(stage_request(host, **changed), None)


async def test_no_volume_is_on_a_relative_path(tmp_path: Path) -> None:
    host = Host(tmp_path, "blank", "blank")
    async with host.running():
        await service(host).NodeStageVolume(stage_request(host), None)
    volume, path = published().volume_id, "some/path"
    stats = csi_pb2.NodeGetVolumeStatsRequest(volume_id=volume, volume_path=path)
    with pytest.raises(NotFound, match="not absolute"):
        await service(host).NodeGetVolumeStats(stats, None)
    expand = csi_pb2.NodeExpandVolumeRequest(volume_id=volume, volume_path=path)
    with pytest.raises(NotFound, match="not absolute"):
        await service(host).NodeExpandVolume(expand, None)


async def test_information_waits_for_nothing(tmp_path: Path) -> None:
    host = Host(tmp_path, "blank")
    info = await service(host).NodeGetInfo(csi_pb2.NodeGetInfoRequest(), None)
    assert info.node_id == "compute-1"
    assert not host.commands


async def test_what_is_wrong_is_told_in_the_words_of_csi(tmp_path: Path) -> None:
    host = Host(tmp_path, "blank", "blank")
    node = service(host)
    request = csi_pb2.NodeGetVolumeHealthRequest(volume_id=published().volume_id)
    async with host.running():
        await node.NodeStageVolume(stage_request(host), None)
    host.end_session()
    answer = await node.NodeGetVolumeHealth(request, None)
    (entry,) = answer.volume_health.health_statuses
    assert entry.status == csi_pb2.VolumeHealthErrorType.INACCESSIBLE
    assert entry.reason == "DiskGone"


async def test_stats_tell_the_units(tmp_path: Path) -> None:
    host = Host(tmp_path, "blank", "blank")
    node = service(host)
    async with host.running():
        await node.NodeStageVolume(stage_request(host), None)
    request = csi_pb2.NodeGetVolumeStatsRequest(
        volume_id=published().volume_id, volume_path=str(host.staging)
    )
    answer = await node.NodeGetVolumeStats(request, None)
    assert [usage.unit for usage in answer.usage] == [
        csi_pb2.VolumeUsage.BYTES,
        csi_pb2.VolumeUsage.INODES,
    ]


async def test_expanding_answers_the_capacity(tmp_path: Path) -> None:
    host = Host(tmp_path, "blank", "blank")
    node = service(host)
    async with host.running():
        await node.NodeStageVolume(stage_request(host), None)
        request = csi_pb2.NodeExpandVolumeRequest(
            volume_id=published().volume_id, volume_path=str(host.staging)
        )
        answer = await node.NodeExpandVolume(request, None)
    assert answer.capacity_bytes == published().size_bytes
    with pytest.raises(InvalidArgument, match="volume_path"):
        await node.NodeExpandVolume(csi_pb2.NodeExpandVolumeRequest(volume_id="x"), None)


async def test_a_node_tells_its_zone(tmp_path: Path) -> None:
    host = Host(tmp_path, "blank")
    node = NodeService("compute-1", host.flows(), "a")  # type: ignore[abstract]
    info = await node.NodeGetInfo(csi_pb2.NodeGetInfoRequest(), None)
    assert dict(info.accessible_topology.segments) == {"topology.csi-lvm-iscsi.github.io/zone": "a"}
    without = await service(host).NodeGetInfo(csi_pb2.NodeGetInfoRequest(), None)
    assert not without.HasField("accessible_topology")
