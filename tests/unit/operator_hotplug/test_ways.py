"""The two ways of KubeVirt, and what is asked of it in each."""

from __future__ import annotations

from dataclasses import replace

import pytest

from csi_lvm_iscsi.operator.hotplug import ways
from csi_lvm_iscsi.operator.hotplug.objects import KubeVirt
from csi_lvm_iscsi.operator.hotplug.ways import Way
from tests.unit.operator_hotplug.test_decision import SERIAL, hotplug, kubevirt, machine


@pytest.mark.parametrize(
    ("given", "way"),
    [
        (kubevirt(), None),
        (kubevirt("HotplugVolumes"), Way.IMPERATIVE),
        (kubevirt("DeclarativeHotplugVolumes"), Way.DECLARATIVE),
        (kubevirt("DeclarativeHotplugVolumes", version="v1.5.2"), None),
        (kubevirt("HotplugVolumes", "DeclarativeHotplugVolumes"), Way.IMPERATIVE),
        (kubevirt(version="v1.9.0-rc.2"), Way.DECLARATIVE),
        (kubevirt("HotplugVolumes", version="v1.9.0"), Way.IMPERATIVE),
        (kubevirt(version="v1.9.0", disabled=("DeclarativeHotplugVolumes",)), None),
        (
            kubevirt(
                "DeclarativeHotplugVolumes",
                version="v1.9.0",
                disabled=("DeclarativeHotplugVolumes",),
            ),
            Way.DECLARATIVE,
        ),
        (kubevirt(version="devel"), Way.DECLARATIVE),
    ],
)
def test_the_way_is_what_kubevirt_goes(given: KubeVirt, way: Way | None) -> None:
    assert ways.way_of(given) is way


def test_the_command_that_enables_keeps_the_gates_that_are_set() -> None:
    assert ways.enabling(kubevirt("Snapshot")) == (
        "kubectl -n kubevirt patch kubevirt kubevirt --type merge -p "
        '\'{"spec": {"configuration": {"developerConfiguration": '
        '{"featureGates": ["Snapshot", "DeclarativeHotplugVolumes"]}}}}\''
    )


def test_a_machine_without_lists_gets_them() -> None:
    bare = replace(machine(), disks=None, has_volumes=False)
    operations = ways.adding(hotplug(readOnly=True), bare, "data", SERIAL)
    assert operations == [
        {"op": "test", "path": "/metadata/resourceVersion", "value": "7"},
        {
            "op": "add",
            "path": "/spec/template/spec/domain/devices/disks",
            "value": [
                {"name": "data", "disk": {"bus": "scsi", "readonly": True}, "serial": SERIAL}
            ],
        },
        {
            "op": "add",
            "path": "/spec/template/spec/volumes",
            "value": [
                {
                    "name": "data",
                    "persistentVolumeClaim": {"claimName": "data", "hotpluggable": True},
                }
            ],
        },
    ]
