"""A Kubernetes cluster as our processes see it: its API server, and storage hosts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from kubernetes.aio import client

from csi_lvm_iscsi.rpc.tls import ClientCredentials
from csi_lvm_iscsi.storage_client.api_server import ApiServer, connect
from tests.unit.cluster.fake_api import FakeApi
from tests.unit.cluster.operating import Operator, operating
from tests.unit.cluster.storage_hosts import REAL, StorageHost, write_certificates
from tests.unit.cluster.world import Kubernetes, NewHost


@pytest.fixture
async def kubernetes() -> AsyncIterator[Kubernetes]:
    async with AsyncExitStack() as stack:
        if REAL:
            # TLS ends some moments after close (aiohttp, "Graceful Shutdown").
            stack.push_async_callback(asyncio.sleep, 0.25)
            made = Kubernetes(await connect(), None)
            await made.empty()
        else:
            fake = FakeApi()
            url = await stack.enter_async_context(fake.serving())
            made = Kubernetes(ApiServer(client.Configuration(host=url)), fake)
        stack.push_async_callback(made.api.close)
        yield made


@pytest.fixture
def fake(kubernetes: Kubernetes) -> FakeApi:
    if kubernetes.fake is None:
        pytest.skip("a real API server has no such fault on demand")
    return kubernetes.fake


@pytest.fixture
def certificates(tmp_path: Path) -> tuple[Path, Path]:
    return write_certificates(tmp_path)


@pytest.fixture
def credentials(certificates: tuple[Path, Path]) -> ClientCredentials:
    return ClientCredentials(certificates[1])


@pytest.fixture
async def new_host(certificates: tuple[Path, Path]) -> AsyncIterator[NewHost]:
    """Makes a storage host that serves; with its name and the letters of its volume groups."""
    async with AsyncExitStack() as stack:

        async def make(name: str, *groups: str) -> StorageHost:
            host = StorageHost(name, certificates[0], *groups)  # type: ignore[abstract]
            return await stack.enter_async_context(host.serving())

        yield make


@pytest.fixture
async def operator(
    kubernetes: Kubernetes, credentials: ClientCredentials
) -> AsyncIterator[Operator]:
    async with operating(kubernetes, credentials) as made:
        yield made
