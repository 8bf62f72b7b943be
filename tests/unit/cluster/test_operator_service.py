"""The role operator as a whole: what it keeps."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from csi_lvm_iscsi.operator import service
from csi_lvm_iscsi.storage_client.api_server import ApiServer
from tests.unit.cluster.fake_api import FakeApi
from tests.unit.cluster.world import NAMESPACE, SERVICE, Kubernetes, NewHost, until


@pytest.mark.parametrize("virtual_machines", [False, True])
async def test_virtual_machines_are_looked_at_only_where_they_are_asked_for(
    kubernetes: Kubernetes,
    fake: FakeApi,
    certificates: tuple[Path, Path],
    new_host: NewHost,
    monkeypatch: pytest.MonkeyPatch,
    *,
    virtual_machines: bool,
) -> None:
    async def connect() -> ApiServer:
        return kubernetes.api

    monkeypatch.setattr(service, "connect", connect)
    await kubernetes.endpoints(await new_host("storage-1", "a"))
    settings = service.Settings(
        namespace=NAMESPACE,
        storage_service=SERVICE,
        tls_directory=certificates[1],
        zones=False,
        virtual_machines=virtual_machines,
    )
    serving = asyncio.create_task(service.serve(settings, CollectorRegistry()))
    await until(lambda: kubernetes.read("storage-1"))
    signal.raise_signal(signal.SIGTERM)
    await serving
    asked = {path for _, path in fake.requests}
    of_machines = {
        each
        for each in asked
        if "kubevirt.io" in each
        or each.endswith(("/volumehotplugs", "/persistentvolumeclaims", "/volumeattachments"))
    }
    assert bool(of_machines) is virtual_machines
