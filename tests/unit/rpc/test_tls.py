"""Certificates that are renewed under a server and a client that run, over real connections."""

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from csi_lvm_iscsi.bootstrap.certificates import CLIENT, SERVER, Signed, new_authority, new_leaf
from csi_lvm_iscsi.model.errors import DriverError, Unavailable
from csi_lvm_iscsi.rpc import server, tls
from csi_lvm_iscsi.rpc.interceptor import CallInterceptor
from csi_lvm_iscsi.rpc.pb import storage_pb2, storage_pb2_grpc
from csi_lvm_iscsi.storage_client.host import HostEntry, StorageHost

NOW = datetime.now(UTC)
OLD, NEW = new_authority(NOW), new_authority(NOW)


def write(directory: Path, authorities: bytes, leaf: Signed) -> None:
    """As kubelet does (pkg/volume/util/atomic_writer.go): the files are links through `..data`,
    which is replaced in one step."""
    version = directory / f"..{len(list(directory.glob('..*')))}"
    version.mkdir(parents=True)
    (version / "ca.crt").write_bytes(authorities)
    (version / "tls.crt").write_bytes(leaf.certificate)
    (version / "tls.key").write_bytes(leaf.key)
    new = directory / "..data_tmp"
    new.symlink_to(version.name)
    new.rename(directory / "..data")
    for name in ("ca.crt", "tls.crt", "tls.key"):
        (directory / name).unlink(missing_ok=True)
        (directory / name).symlink_to(f"..data/{name}")


class Storage(storage_pb2_grpc.StorageServicer):
    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.go_on = asyncio.Event()

    async def GetCapacity(
        self, request: storage_pb2.GetCapacityRequest, context: object
    ) -> storage_pb2.GetCapacityResponse:
        self.asked.set()
        await self.go_on.wait()
        return storage_pb2.GetCapacityResponse()


class Pair:
    """A storage host that serves, and a client of it."""

    def __init__(self, directory: Path) -> None:
        self.server_files, self.client_files = directory / "server", directory / "client"
        self.service = Storage()  # type: ignore[abstract]  # the rest is not called
        self.service.go_on.set()

    def renew(self, authority: Signed, authorities: bytes = b"") -> None:
        bundle = authorities or authority.certificate
        write(self.server_files, bundle, new_leaf(authority, "storage-1", SERVER, NOW))
        write(self.client_files, bundle, new_leaf(authority, "controller", CLIENT, NOW))

    def new_client(self) -> StorageHost:
        credentials = tls.ClientCredentials(self.client_files)
        return StorageHost(HostEntry("storage-1", self.address, ()), credentials)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        address = f"unix://{self.server_files.parent}/socket"
        listening = await server.listen(
            address,
            lambda to: storage_pb2_grpc.add_StorageServicer_to_server(self.service, to),
            [CallInterceptor(CollectorRegistry())],
            tls.server_credentials(self.server_files),
        )
        self.address = address
        try:
            yield
        finally:
            await listening.stop(None)


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    pair = Pair(tmp_path)
    pair.renew(OLD)
    async with pair.serving():
        yield pair


async def test_another_authority_without_a_restart(pair: Pair) -> None:
    client = pair.new_client()
    assert await client.pools() == []
    pair.renew(NEW)
    # Known by the new authority's certificate alone, on both sides.
    assert await client.pools() == []
    assert await pair.new_client().pools() == []


async def test_a_client_of_the_former_authority_is_let_in_no_more(
    pair: Pair, tmp_path: Path
) -> None:
    pair.renew(NEW)
    pair.client_files = tmp_path / "stranger"
    write(tmp_path / "stranger", NEW.certificate, new_leaf(OLD, "controller", CLIENT, NOW))
    with pytest.raises(Unavailable):
        await pair.new_client().pools()


async def test_a_call_under_way_is_not_cut(pair: Pair) -> None:
    client = pair.new_client()
    pair.service.go_on.clear()
    under_way = asyncio.create_task(client.pools())
    await asyncio.wait_for(pair.service.asked.wait(), 10)
    pair.renew(NEW)
    later = asyncio.create_task(client.pools())
    pair.service.asked.clear()
    await asyncio.wait_for(pair.service.asked.wait(), 10)
    pair.service.go_on.set()
    assert (await under_way, await later) == ([], [])


async def test_the_same_channel_while_nothing_changes(pair: Pair) -> None:
    client = pair.new_client()
    address = client.entry.address
    assert client._connection.stub(address) is client._connection.stub(address)


@pytest.mark.parametrize("half", ["tls.crt", "tls.key", "ca.crt"])
async def test_a_half_written_directory_changes_nothing(pair: Pair, half: str) -> None:
    client = pair.new_client()  # not connected before it is used
    for files in (pair.server_files, pair.client_files):
        (files / half).unlink()
        (files / half).write_bytes(b"-----BEGIN")
    assert await client.pools() == []
    with pytest.raises(DriverError, match="cannot be used"):
        tls.server_credentials(pair.server_files)
    pair.renew(NEW)
    assert await client.pools() == []


async def test_another_key_than_the_certificates(pair: Pair) -> None:
    other = new_leaf(OLD, "storage-1", SERVER, NOW)
    client = pair.new_client()
    (pair.server_files / "tls.key").unlink()
    (pair.server_files / "tls.key").write_bytes(other.key)
    assert await client.pools() == []
    with pytest.raises(DriverError, match=r"tls\.key be the key of tls\.crt"):
        tls.server_credentials(pair.server_files)


def test_an_error_that_passes_is_told_once_and_the_files_are_read_again(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = tls.TlsDirectory(pair.server_files)
    pair.renew(NEW)
    with monkeypatch.context() as patched, capture_logs() as logs:
        patched.setattr(Path, "read_bytes", _no_files_left)
        for _ in range(3):
            assert files.current().authorities == OLD.certificate
    assert [each["log_level"] for each in logs] == ["warning"]
    assert files.current().authorities == NEW.certificate


def _no_files_left(path: Path) -> bytes:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(path))


def test_a_directory_without_the_files(tmp_path: Path) -> None:
    with pytest.raises(DriverError, match=r"ca\.crt cannot be read"):
        tls.server_credentials(tmp_path)
