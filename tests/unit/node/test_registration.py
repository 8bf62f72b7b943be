"""Registration, with a kubelet that calls over a real socket."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from grpc import aio

from csi_lvm_iscsi.model.errors import DriverError
from csi_lvm_iscsi.node.registration import SOCKET, Registration
from csi_lvm_iscsi.rpc.pb import pluginregistration_pb2 as pb
from csi_lvm_iscsi.rpc.pb.pluginregistration_pb2_grpc import RegistrationStub

ENDPOINT = "unix:///var/lib/kubelet/plugins/csi-lvm-iscsi.github.io/csi.sock"


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator["asyncio.Task[None]"]:
    task = asyncio.create_task(Registration(tmp_path, ENDPOINT).run())
    yield task
    task.cancel()
    await asyncio.wait([task])


async def kubelet(directory: Path) -> aio.Channel:
    """Connect, when the socket is there."""
    channel = aio.insecure_channel(f"unix://{directory}/{SOCKET}")
    await asyncio.wait_for(channel.channel_ready(), 10)
    return channel


@pytest.mark.usefixtures("running")
async def test_who_we_are(tmp_path: Path) -> None:
    async with await kubelet(tmp_path) as channel:
        info = await RegistrationStub(channel).GetInfo(pb.InfoRequest())
    assert info == pb.PluginInfo(
        type="CSIPlugin",
        name="csi-lvm-iscsi.github.io",
        endpoint="/var/lib/kubelet/plugins/csi-lvm-iscsi.github.io/csi.sock",
        supported_versions=["1.0.0"],
    )


async def test_the_socket_of_a_killed_role_is_replaced_and_ours_removed_at_the_end(
    tmp_path: Path,
) -> None:
    first = asyncio.create_task(Registration(tmp_path, ENDPOINT).run())
    async with await kubelet(tmp_path):
        stale = tmp_path / "stale"
        (tmp_path / SOCKET).rename(stale)
    first.cancel()
    await asyncio.wait([first])
    stale.rename(tmp_path / SOCKET)

    second = asyncio.create_task(Registration(tmp_path, ENDPOINT).run())
    async with await kubelet(tmp_path) as channel:
        await RegistrationStub(channel).NotifyRegistrationStatus(
            pb.RegistrationStatus(plugin_registered=True)
        )
    assert not second.done()
    second.cancel()
    await asyncio.wait([second])
    assert list(tmp_path.iterdir()) == []


async def test_kubelet_says_no(tmp_path: Path, running: "asyncio.Task[None]") -> None:
    async with await kubelet(tmp_path) as channel:
        status = pb.RegistrationStatus(plugin_registered=False, error="no such node")
        await RegistrationStub(channel).NotifyRegistrationStatus(status)
    with pytest.raises(DriverError, match="refused to register this driver: no such node"):
        await running
    assert not (tmp_path / SOCKET).exists()
