"""Zones on the wire: told only where they are configured, and then of everything."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from csi_lvm_iscsi.controller.messages import reach_of
from csi_lvm_iscsi.controller.placement import Reach
from csi_lvm_iscsi.controller.service import ControllerService
from csi_lvm_iscsi.controller.snapshots import Snapshots
from csi_lvm_iscsi.controller.volumes import Volumes
from csi_lvm_iscsi.model.errors import DriverError
from csi_lvm_iscsi.rpc.identity import IdentityService
from csi_lvm_iscsi.rpc.pb import csi_pb2
from csi_lvm_iscsi.storage_client import inventory
from tests.unit.controller.hosts import GIB, Host, Inventory, pool

KEY = "topology.csi-lvm-iscsi.github.io/zone"


def zone(name: str) -> csi_pb2.Topology:
    return csi_pb2.Topology(segments={KEY: name})


def create_request(*requisite: csi_pb2.Topology) -> csi_pb2.CreateVolumeRequest:
    capability = csi_pb2.VolumeCapability(
        block=csi_pb2.VolumeCapability.BlockVolume(),
        access_mode=csi_pb2.VolumeCapability.AccessMode(
            mode=csi_pb2.VolumeCapability.AccessMode.SINGLE_NODE_WRITER
        ),
    )
    return csi_pb2.CreateVolumeRequest(
        name="a",
        capacity_range=csi_pb2.CapacityRange(required_bytes=GIB),
        volume_capabilities=[capability],
        accessibility_requirements=csi_pb2.TopologyRequirement(requisite=requisite),
    )


def controller(*hosts: Host) -> ControllerService:
    among = Inventory(*hosts)
    return ControllerService(  # type: ignore[abstract]
        Volumes(among),  # type: ignore[arg-type]
        Snapshots(among),  # type: ignore[arg-type]
        zones=among.has_zones,
    )


async def test_a_volume_tells_the_zone_of_its_host() -> None:
    service = controller(Host("a-1", pool(), zone="a"), Host("b-1", pool(), zone="b"))
    made = await service.CreateVolume(create_request(zone("b")), None)
    assert list(made.volume.accessible_topology) == [zone("b")]
    room = await service.GetCapacity(
        csi_pb2.GetCapacityRequest(accessible_topology=zone("b")), None
    )
    assert room.available_capacity == 9 * GIB
    nowhere = csi_pb2.GetCapacityRequest(accessible_topology=zone("c"))
    assert (await service.GetCapacity(nowhere, None)).available_capacity == 0


async def test_without_zones_nothing_is_told_of_any() -> None:
    service = controller(Host("one", pool()))
    made = await service.CreateVolume(create_request(zone("b")), None)
    assert not made.volume.accessible_topology


@pytest.mark.parametrize("zones", [False, True])
async def test_the_capability_is_there_only_with_zones(zones: bool) -> None:  # noqa: FBT001
    service = IdentityService(zones=zones)
    answer = await service.GetPluginCapabilities(csi_pb2.GetPluginCapabilitiesRequest(), None)
    kinds = {each.service.type for each in answer.capabilities}
    assert (csi_pb2.PluginCapability.Service.VOLUME_ACCESSIBILITY_CONSTRAINTS in kinds) is zones


def test_what_a_co_asks_for() -> None:
    requirement = csi_pb2.TopologyRequirement
    foreign = csi_pb2.Topology(segments={KEY: "a", "rack": "1"})
    assert reach_of(requirement()) == Reach()
    assert reach_of(requirement(preferred=[zone("b")])) == Reach(preferred=("b",))
    both = requirement(requisite=[zone("a"), zone("b")], preferred=[zone("b"), zone("a")])
    assert reach_of(both) == Reach(preferred=("b", "a"), requisite=("a", "b"))
    assert reach_of(requirement(requisite=[foreign])) == Reach(requisite=())


@pytest.mark.parametrize(
    ("zones", "told"),
    [(["a", None], "none for host-1"), (["a b", "a"], "'a b'")],
)
def test_zones_that_an_inventory_cannot_have(
    tmp_path: Path, zones: list[str | None], told: str
) -> None:
    hosts = [
        {"name": f"host-{n}", "address": "", "volumeGroups": [{"uuid": str(n)}]}
        | ({"zone": each} if each else {})
        for n, each in enumerate(zones)
    ]
    path = tmp_path / "inventory.json"
    path.write_text(json.dumps({"storageHosts": hosts, "nodes": []}))
    with pytest.raises(DriverError, match=told):
        inventory.Inventory(path, tmp_path)
