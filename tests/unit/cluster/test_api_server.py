"""What those behind the API server ask of a request."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio import client

from csi_lvm_iscsi.storage_client.api_server import ApiServer

ADD = "/apis/subresources.kubevirt.io/v1/namespaces/default/virtualmachines/c2/addvolume"


async def _add(request: web.Request) -> web.Response:
    """As KubeVirt 1.6 was seen to answer: it names no type, so the client has to take any."""
    if "*/*" not in request.headers["Accept"]:
        return web.Response(status=406, text="406: Not Acceptable\n\nAvailable representations:")
    return web.Response(status=202)


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    application = web.Application()
    application.router.add_put(ADD, _add)
    async with TestServer(application) as server:
        api = ApiServer(client.Configuration(host=str(server.make_url("")).rstrip("/")))
        yield api
        await api.close()


async def test_a_subresource_of_kubevirt_takes_what_it_is_sent(api: ApiServer) -> None:
    assert await api.replace(ADD, {"name": "data"}) == {}
