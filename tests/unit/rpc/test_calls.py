"""Calls over a real gRPC server on a unix socket: statuses, logs, metrics, callers that leave."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from grpc import aio
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from csi_lvm_iscsi.model import errors
from csi_lvm_iscsi.rpc.errors import error_of, status_of
from csi_lvm_iscsi.rpc.interceptor import CallInterceptor
from csi_lvm_iscsi.rpc.pb import csi_pb2, csi_pb2_grpc
from csi_lvm_iscsi.storage_client.connection import CHANNEL_OPTIONS
from csi_lvm_iscsi.storage_client.host import _is_answer

METRIC = "csi_lvm_iscsi_call_seconds_count"


class Service(csi_pb2_grpc.ControllerServicer):
    """Answers as the name of the volume says."""

    def __init__(self) -> None:
        self.refused = 0
        self.started = asyncio.Event()
        self.go_on = asyncio.Event()
        self.ended = asyncio.Event()

    async def CreateVolume(
        self, request: csi_pb2.CreateVolumeRequest, context: object
    ) -> csi_pb2.CreateVolumeResponse:
        if request.name == "slow":
            self.started.set()
            await self.go_on.wait()
            self.ended.set()
        elif request.name == "fault":
            raise ZeroDivisionError
        elif request.name:
            self.refused += 1
            raise getattr(errors, request.name)("what to do")
        return csi_pb2.CreateVolumeResponse()


class Server:
    """A service behind the interceptor, and a client of it."""

    def __init__(self, address: str) -> None:
        self.service = Service()  # type: ignore[abstract]  # gRPC answers UNIMPLEMENTED for the rest
        self.registry = CollectorRegistry()
        self.interceptor = CallInterceptor(self.registry)
        self.server = aio.server(interceptors=[self.interceptor])
        csi_pb2_grpc.add_ControllerServicer_to_server(self.service, self.server)
        self.server.add_insecure_port(address)
        self.channel = aio.insecure_channel(address, options=CHANNEL_OPTIONS)
        self.stub = csi_pb2_grpc.ControllerStub(self.channel)

    def create(
        self, name: str, timeout: float | None = None
    ) -> "aio.UnaryUnaryCall[csi_pb2.CreateVolumeRequest, csi_pb2.CreateVolumeResponse]":
        request = csi_pb2.CreateVolumeRequest(name=name, secrets={"key": "hunter2"})
        return self.stub.CreateVolume(request, timeout=timeout)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    server = Server(f"unix://{tmp_path}/socket")
    await server.server.start()
    yield server
    await server.channel.close()
    await server.server.stop(None)


ERRORS = [
    errors.InvalidArgument, errors.NotFound, errors.AlreadyExists, errors.FailedPrecondition,
    errors.OutOfRange, errors.OutOfSpace, errors.Busy, errors.Unavailable, errors.DriverError,
    errors.TookTooLong,
]  # fmt: skip


@pytest.mark.parametrize("error", ERRORS)
async def test_an_error_becomes_its_status_with_the_message(
    server: Server, error: type[errors.DriverError]
) -> None:
    with pytest.raises(aio.AioRpcError) as caught:
        await server.create(error.__name__)
    assert caught.value.code() == status_of(error())
    assert caught.value.details() == "what to do"
    assert isinstance(error(), type(error_of(caught.value.code(), "")))


async def test_what_a_server_answered_is_not_asked_again(server: Server) -> None:
    """The client's own retries are for calls that were lost."""
    with pytest.raises(aio.AioRpcError):
        await server.create("Unavailable")
    assert server.service.refused == 1


async def test_an_error_that_a_server_sent_is_told_from_silence(
    server: Server, tmp_path: Path
) -> None:
    with pytest.raises(aio.AioRpcError) as answer:
        await server.create("Unavailable")
    assert _is_answer(answer.value)
    nowhere = csi_pb2_grpc.ControllerStub(aio.insecure_channel(f"unix://{tmp_path}/nothing"))
    with pytest.raises(aio.AioRpcError) as silence:
        await nowhere.CreateVolume(csi_pb2.CreateVolumeRequest())
    assert silence.value.code() == answer.value.code()
    assert not _is_answer(silence.value)


async def test_a_fault_is_internal_and_logged_with_its_trace(server: Server) -> None:
    with capture_logs() as logs, pytest.raises(aio.AioRpcError) as caught:
        await server.create("fault")
    assert caught.value.code() == grpc.StatusCode.INTERNAL
    assert "ZeroDivisionError" in (caught.value.details() or "")
    assert isinstance(logs[-1]["exc_info"], ZeroDivisionError)


async def test_a_verb_that_a_service_does_not_have(server: Server) -> None:
    with pytest.raises(aio.AioRpcError, match="does not have this method") as caught:
        await server.stub.ListSnapshots(csi_pb2.ListSnapshotsRequest())
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_no_secret_reaches_the_log(server: Server) -> None:
    with capture_logs() as logs:
        await server.create("")
    assert logs[-1]["status"] == "OK"
    assert "hunter2" not in str(logs)


async def test_calls_are_counted_by_method_and_status(server: Server) -> None:
    await server.create("")
    with pytest.raises(aio.AioRpcError):
        await server.create("Busy")
    for status in ("OK", "ABORTED"):
        labels = {"method": "CreateVolume", "status": status}
        assert server.registry.get_sample_value(METRIC, labels) == 1


async def test_a_change_goes_on_when_its_caller_gives_up(server: Server) -> None:
    call = server.create("slow")
    await server.service.started.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    server.service.go_on.set()
    async with asyncio.timeout(5):
        await server.service.ended.wait()
        await server.interceptor.finish()
    labels = {"method": "CreateVolume", "status": "OK"}
    assert server.registry.get_sample_value(METRIC, labels) == 1, "it was not counted"


def test_silence_of_the_other_side_is_unavailable() -> None:
    assert isinstance(error_of(grpc.StatusCode.DEADLINE_EXCEEDED, ""), errors.Unavailable)
