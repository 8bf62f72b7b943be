"""What the chart renders."""

import math
import re
from pathlib import PurePath
from typing import Any

import pytest
import yaml

from csi_lvm_iscsi.cli import _parser
from csi_lvm_iscsi.model.parameters import Parameters
from csi_lvm_iscsi.storage_client import cluster
from tests.chart.charts import (
    CHART,
    EVERYTHING,
    LEAST,
    MINIMAL,
    VARIANTS,
    find,
    helm,
    pods,
    rendered,
    template,
)
from tests.chart.write import MANIFESTS, manifests

Objects = list[dict[str, Any]]


@pytest.fixture(scope="module", params=VARIANTS)
def objects(request: pytest.FixtureRequest) -> Objects:
    return rendered(VARIANTS[request.param])


@pytest.fixture(scope="module")
def minimal() -> Objects:
    return rendered(MINIMAL)


@pytest.mark.parametrize("variant", VARIANTS)
def test_helm_lint(variant: str) -> None:
    helm("lint", "--strict", "--kube-version", "1.37.2", str(CHART), values=VARIANTS[variant])


def test_renders_are_reproducible_and_hold_no_key() -> None:
    text = template(EVERYTHING)
    assert template(EVERYTHING) == text
    assert not [each for each in yaml.safe_load_all(text) if each and each["kind"] == "Secret"]


def test_manifests_are_current() -> None:
    """`make manifests` writes them."""
    assert MANIFESTS.read_text() == manifests()


def test_root_file_systems_are_read_only(objects: Objects) -> None:
    for name, pod in pods(objects).items():
        for container in pod["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"], name


def test_only_roles_of_a_host_are_privileged(objects: Objects) -> None:
    privileged = {
        name: {"hostPID": pod.get("hostPID", False), "hostNetwork": pod.get("hostNetwork", False)}
        for name, pod in pods(objects).items()
        if any(each["securityContext"].get("privileged") for each in pod["containers"])
    }
    assert privileged == {
        "DaemonSet/csi-lvm-iscsi-storage": {"hostPID": True, "hostNetwork": True},
        "DaemonSet/csi-lvm-iscsi-tgtd": {"hostPID": False, "hostNetwork": True},
        "DaemonSet/csi-lvm-iscsi-node": {"hostPID": True, "hostNetwork": True},
    }
    for name, pod in pods(objects).items():
        if name in privileged:
            continue
        assert pod["securityContext"]["runAsNonRoot"], name
        assert not [volume for volume in pod.get("volumes", []) if "hostPath" in volume], name
        for container in pod["containers"]:
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}, name
            assert container["securityContext"]["allowPrivilegeEscalation"] is False, name


def test_pods_of_hosts_hold_no_token(objects: Objects) -> None:
    without = [
        name
        for name, pod in pods(objects).items()
        if pod.get("automountServiceAccountToken") is False
    ]
    assert without == [name for name in pods(objects) if name.startswith("DaemonSet/")]
    bound = {
        subject["name"]
        for each in objects
        if each["kind"] in ("RoleBinding", "ClusterRoleBinding")
        for subject in each["subjects"]
    }
    assert bound == {
        "csi-lvm-iscsi-controller",
        "csi-lvm-iscsi-operator",
        "csi-lvm-iscsi-bootstrap",
        "csi-lvm-iscsi-bootstrap-hook",
    }


def test_only_bootstrap_mounts_or_reads_the_authority(objects: Objects) -> None:
    secrets = {
        name: sorted(
            each["secret"]["secretName"] for each in pod.get("volumes", []) if "secret" in each
        )
        for name, pod in pods(objects).items()
    }
    assert secrets == {
        "Deployment/csi-lvm-iscsi-controller": ["csi-lvm-iscsi-client-tls"],
        "Deployment/csi-lvm-iscsi-operator": ["csi-lvm-iscsi-client-tls"],
        "DaemonSet/csi-lvm-iscsi-storage": ["csi-lvm-iscsi-chap-keys", "csi-lvm-iscsi-server-tls"],
        "DaemonSet/csi-lvm-iscsi-node": ["csi-lvm-iscsi-chap-keys"],
        "DaemonSet/csi-lvm-iscsi-tgtd": [],
        "Job/csi-lvm-iscsi-bootstrap": [],
        "CronJob/csi-lvm-iscsi-bootstrap": [],
    }


def test_secrets_are_mounted_as_directories(objects: Objects) -> None:
    """With subPath a renewed certificate would not appear in the pod."""
    mounts = [
        mount
        for pod in pods(objects).values()
        for container in pod["containers"]
        for mount in container.get("volumeMounts", [])
    ]
    assert mounts
    assert not [mount for mount in mounts if "subPath" in mount]


def test_an_upgrade_leaves_tgtd_alone(minimal: Objects) -> None:
    tgtd = find(minimal, "DaemonSet", "csi-lvm-iscsi-tgtd")
    assert tgtd["spec"]["updateStrategy"] == {"type": "OnDelete"}
    (container,) = tgtd["spec"]["template"]["spec"]["containers"]
    assert "limits" not in container["resources"]
    assert not [key for key in container if key.endswith("Probe")]


def test_a_dead_host_does_not_keep_the_others_from_an_upgrade(minimal: Objects) -> None:
    """Its pod counts as unavailable for the controller of DaemonSets, which rounds up."""

    def unavailable(role: str) -> int | str:
        spec = find(minimal, "DaemonSet", f"csi-lvm-iscsi-{role}")["spec"]
        found: int | str = spec["updateStrategy"]["rollingUpdate"]["maxUnavailable"]
        return found

    assert unavailable("storage") == 2
    percent = int(str(unavailable("node")).removesuffix("%"))
    assert all(math.ceil(nodes * percent / 100) >= 2 for nodes in range(3, 100))


def test_nothing_of_the_hosts_is_waited_for_where_a_node_is_tainted(minimal: Objects) -> None:
    for name, pod in pods(minimal).items():
        if name.startswith("DaemonSet/"):
            assert pod["tolerations"] == [{"operator": "Exists"}], name
            assert pod["priorityClassName"] == "system-node-critical", name


def test_what_holds_keys_of_all_hosts_can_be_kept_on_nodes_of_trust() -> None:
    tenants = "example.com/trusted"
    kept = {
        name.partition("/")[2]
        for name, pod in pods(rendered(EVERYTHING)).items()
        if tenants in pod["nodeSelector"]
    }
    assert kept == {
        "csi-lvm-iscsi-controller",
        "csi-lvm-iscsi-operator",
        "csi-lvm-iscsi-bootstrap",
    }


def test_a_selector_of_ones_own_is_all_that_is_asked_of_a_storage_host(minimal: Objects) -> None:
    """Helm merges maps: a label among the default values would be asked for, too."""

    def selectors(objects: Objects) -> list[dict[str, str]]:
        return [
            pods(objects)[f"DaemonSet/csi-lvm-iscsi-{name}"]["nodeSelector"]
            for name in ("storage", "tgtd")
        ]

    usual = "csi-lvm-iscsi.node-restriction.kubernetes.io/storage"
    linux = {"kubernetes.io/os": "linux"}
    assert selectors(minimal) == [{**linux, usual: "true"}] * 2
    own = EVERYTHING["storage"]["nodeSelector"]
    assert selectors(rendered(EVERYTHING)) == [{**linux, **own}] * 2


def test_roles_answer_for_their_health(objects: Objects) -> None:
    for name, pod in pods(objects).items():
        container = pod["containers"][0]
        if container["name"] in ("tgtd", "bootstrap"):
            continue
        (port,) = [
            each["containerPort"] for each in container["ports"] if each["name"] == "metrics"
        ]
        (metrics,) = [each for each in container["args"] if each.startswith("--metrics=")]
        assert metrics.endswith(f":{port}"), name
        for probe in ("readinessProbe", "livenessProbe"):
            assert container[probe]["httpGet"] == {"path": "/healthz", "port": "metrics"}, name


@pytest.mark.parametrize("address", ["10.77.0.11", "fd00:77::11"])
def test_the_command_takes_the_arguments(objects: Objects, address: str) -> None:
    values = {"NODE_NAME": "host-1", "HOST_IP": address, "NAMESPACE": "csi", "ZONE": "hall-1"}
    roles = set()
    for name, pod in pods(objects).items():
        container = pod["containers"][0]
        if container["name"] == "tgtd":
            continue
        given = {each["name"] for each in container["env"]}
        for variable in re.findall(r"\$\((\w+)\)", " ".join(container["args"])):
            assert variable in given, (name, variable)
        arguments = [
            re.sub(r"\$\((\w+)\)", lambda match: values[match[1]], each)
            for each in container["args"]
        ]
        roles.add(_parser().parse_args(arguments).role)
    assert roles == {"controller", "storage", "node", "operator", "bootstrap"}


def test_membership_is_read_where_the_storage_pods_are_served(objects: Objects) -> None:
    service = find(objects, "Service", "csi-lvm-iscsi-storage")
    (port,) = service["spec"]["ports"]
    assert port["name"] == cluster._PORT
    storage = pods(objects)["DaemonSet/csi-lvm-iscsi-storage"]["containers"][0]
    (served,) = [each for each in storage["ports"] if each["name"] == port["targetPort"]]
    assert f"--listen=$(HOST_IP):{served['containerPort']}" in storage["args"]
    for name in ("controller", "operator"):
        container = pods(objects)[f"Deployment/csi-lvm-iscsi-{name}"]["containers"][0]
        assert f"--storage-service={service['metadata']['name']}" in container["args"]


def test_arguments_name_what_is_mounted(objects: Objects) -> None:
    for name, pod in pods(objects).items():
        for container in pod["containers"]:
            mounts = [PurePath(each["mountPath"]) for each in container.get("volumeMounts", [])]
            for path in re.findall(r"[=/]/?(/[a-z][^ =]*)", " ".join(container.get("args", []))):
                if path.startswith("/etc/csi-lvm-iscsi"):
                    assert PurePath(path) in mounts, (name, path)


def test_sidecars_have_what_the_driver_asks_of_them(minimal: Objects) -> None:
    containers = {
        each["name"]: each
        for each in pods(minimal)["Deployment/csi-lvm-iscsi-controller"]["containers"]
    }
    assert list(containers) == ["controller", "provisioner", "attacher", "resizer", "snapshotter"]
    assert "--extra-create-metadata" in containers["provisioner"]["args"]
    # The driver refuses parameters of snapshots.
    assert "--extra-create-metadata" not in containers["snapshotter"]["args"]
    for name, container in containers.items():
        if name != "controller":
            assert "--leader-election" in container["args"]
            assert any(each.endswith("timeout=60s") for each in container["args"]), name


def test_the_driver_knows_the_parameters_of_all_classes(objects: Objects) -> None:
    for each in objects:
        if each["kind"] == "StorageClass":
            given = {
                key: value
                for key, value in each.get("parameters", {}).items()
                if key != "csi.storage.k8s.io/fstype"  # external-provisioner takes it off
            }
            Parameters.parse(given)
        if each["kind"] == "VolumeSnapshotClass":
            assert "parameters" not in each


def test_classes_are_those_of_the_values() -> None:
    classes = {
        each["metadata"]["name"]: each
        for each in rendered(EVERYTHING)
        if each["kind"] == "StorageClass"
    }
    assert list(classes) == ["csi-lvm-iscsi-block", "csi-lvm-iscsi-thin", "fast"]
    default = "storageclass.kubernetes.io/is-default-class"
    assert classes["csi-lvm-iscsi-thin"]["metadata"]["annotations"] == {default: "true"}
    assert classes["csi-lvm-iscsi-thin"]["volumeBindingMode"] == "WaitForFirstConsumer"
    assert classes["csi-lvm-iscsi-thin"]["mountOptions"] == ["noatime"]
    assert classes["fast"]["volumeBindingMode"] == "Immediate"
    assert classes["fast"]["parameters"]["csi.storage.k8s.io/fstype"] == "xfs"


def test_images_come_from_the_registry_of_the_values() -> None:
    images = {c["image"] for pod in pods(rendered(EVERYTHING)).values() for c in pod["containers"]}
    mirror = "registry.example.com/mirror/"
    assert f"{mirror}csi-lvm-iscsi/csi-lvm-iscsi@sha256:{'0' * 64}" in images
    assert f"{mirror}sig-storage/csi-attacher:v4.13.0" in images
    assert all(image.startswith(mirror) for image in images)
    for name, pod in pods(rendered(EVERYTHING)).items():
        assert pod["imagePullSecrets"] == [{"name": "registry"}], name


@pytest.mark.parametrize("zones", [False, True])
def test_the_scheduler_looks_for_capacity_where_it_is_published(*, zones: bool) -> None:
    # Else it finds no node for a pod with a class of WaitForFirstConsumer.
    objects = rendered(MINIMAL | {"zones": zones})
    driver = find(objects, "CSIDriver", "csi-lvm-iscsi.github.io")
    containers = pods(objects)["Deployment/csi-lvm-iscsi-controller"]["containers"]
    (provisioner,) = [each for each in containers if each["name"] == "provisioner"]
    assert driver["spec"]["storageCapacity"] is zones
    assert ("--enable-capacity" in provisioner["args"]) is zones
    # A volume in another zone than the node's would be of no use there.
    assert ("--strict-topology" in provisioner["args"]) is zones


def test_zones_reach_all_that_must_know() -> None:
    containers = {name: pod["containers"][0] for name, pod in pods(rendered(EVERYTHING)).items()}
    node = containers["DaemonSet/csi-lvm-iscsi-node"]
    assert "--zone=$(ZONE)" in node["args"]
    (zone,) = [each for each in node["env"] if each["name"] == "ZONE"]
    assert "topology.kubernetes.io/zone" in zone["valueFrom"]["fieldRef"]["fieldPath"]
    for name in ("operator", "controller"):
        assert "--zones" in containers[f"Deployment/csi-lvm-iscsi-{name}"]["args"]


def test_what_tells_of_lost_nodes_does_not_stay_on_one() -> None:
    all_pods = pods(rendered(MINIMAL))
    for name in ("controller", "operator"):
        tolerations = all_pods[f"Deployment/csi-lvm-iscsi-{name}"]["tolerations"]
        stays = {each["key"]: each.get("tolerationSeconds") for each in tolerations}
        assert stays["node.kubernetes.io/unreachable"] == 30, name
        assert stays["node.kubernetes.io/not-ready"] == 30, name


def test_without_snapshots_nothing_of_them_is_left() -> None:
    assert "snapshot.storage.k8s.io" not in yaml.safe_dump(rendered(LEAST))
    assert "snapshotter" not in yaml.safe_dump(rendered(LEAST))
