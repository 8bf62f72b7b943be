"""What a role carries in memory: only what it uses. The client of Kubernetes alone has 46 MiB."""

import subprocess
import sys

import pytest

IN_CLUSTER = {
    "controller": "csi_lvm_iscsi.storage_client.cluster",
    "bootstrap": "csi_lvm_iscsi.bootstrap.flow",
}
ROLES = {
    "storage": "csi_lvm_iscsi.storage.service",
    "node": "csi_lvm_iscsi.node.service",
    "controller of a bare lab": "csi_lvm_iscsi.controller.service",
}


@pytest.mark.parametrize("role", ROLES)
def test_a_role_that_speaks_to_no_api_server_has_no_client_of_one(role: str) -> None:
    look = (
        f"import sys, csi_lvm_iscsi.cli, {ROLES[role]}, csi_lvm_iscsi.storage_client.inventory;"
        "print(*{'kubernetes', 'aiohttp', 'kopf'} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", look], check=True, capture_output=True, text=True)
    assert ran.stdout.strip() == ""


@pytest.mark.parametrize("role", IN_CLUSTER)
def test_only_the_operator_has_kopf(role: str) -> None:
    look = (
        f"import sys, csi_lvm_iscsi.cli, {IN_CLUSTER[role]}; print(*{{'kopf'}} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", look], check=True, capture_output=True, text=True)
    assert ran.stdout.strip() == ""
