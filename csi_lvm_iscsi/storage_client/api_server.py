"""The API server of Kubernetes: objects as plain JSON, listed, watched and written."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import aiohttp
from kubernetes.aio import client, config

from csi_lvm_iscsi.model.errors import DriverError, Unavailable

Object = dict[str, Any]
_SECONDS = 5.0
# A watch ends by itself after so long, and is resumed: a connection that died silently is not
# noticed before.
_WATCH_SECONDS = 60
_MARGIN_SECONDS = 10.0
# As kubectl has it: KubeVirt's subresources name no type of their answers, and refuse who does not
# take any (406).
_ACCEPT = "application/json, */*"
_MERGE = "application/merge-patch+json"
_JSON_PATCH = "application/json-patch+json"


class ApiError(DriverError):
    """The API server refused a request."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"The API server answered {status}: {message}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Login:
    """How to log in to the API server: for a client that is not ours."""

    server: str
    """Its URL."""

    authority: str | None
    """File of the certificate authority; None: those of the system."""

    verified: bool
    """Whether the server's certificate is checked."""

    authorization: str = field(repr=False)
    """The value of that header, with its scheme; may be empty."""

    certificate: str | None
    """File of the client certificate, if there is one."""

    key: str | None
    """File of its key."""


async def connect() -> "ApiServer":
    """The API server, as the service account of the pod or, outside of a cluster, by the user's
    kubeconfig. Raises DriverError where there is neither."""
    configuration = client.Configuration()
    try:
        if "KUBERNETES_SERVICE_HOST" in os.environ:
            config.load_incluster_config(configuration)
        else:
            await config.load_kube_config(client_configuration=configuration)
    except config.ConfigException as error:
        raise DriverError(
            f"There is no way to the API server ({error}): run this in a pod with a service "
            "account, or set KUBECONFIG."
        ) from error
    return ApiServer(configuration)


class ApiServer:
    """Requests to the API server. Each raises ApiError where it refuses, and Unavailable where it
    does not answer within 5 seconds."""

    def __init__(self, configuration: client.Configuration) -> None:
        self._client = client.ApiClient(configuration)

    async def login(self) -> Login:
        """How this logs in now; tokens change."""
        configuration = self._client.configuration
        return Login(
            server=configuration.host,
            authority=configuration.ssl_ca_cert,
            verified=configuration.verify_ssl,
            authorization=await configuration.get_api_key_with_prefix("BearerToken") or "",
            certificate=configuration.cert_file,
            key=configuration.key_file,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def get(self, path: str, **query: str) -> Object:
        """Read an object, or a list of them."""
        return await self._answer("GET", path, query)

    async def create(self, path: str, body: Object) -> Object:
        """Make an object."""
        return await self._answer("POST", path, {}, body)

    async def replace(self, path: str, body: Object) -> Object:
        """Write an object; the resourceVersion in it must be that of now."""
        return await self._answer("PUT", path, {}, body)

    async def merge(self, path: str, body: Object) -> Object:
        """Change an object by a merge patch (RFC 7386)."""
        return await self._answer("PATCH", path, {}, body, _MERGE)

    async def patch(self, path: str, operations: Sequence[Object]) -> Object:
        """Change an object by a JSON patch (RFC 6902): all of its operations, or none."""
        return await self._answer("PATCH", path, {}, operations, _JSON_PATCH)

    async def watch(self, path: str, version: str, **query: str) -> AsyncIterator[Object]:
        """The events since a resourceVersion, for a minute at most: then resume it from the last.
        Raises ApiError with status 410 where that version is forgotten."""
        asked = query | {
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(_WATCH_SECONDS),
        }
        try:
            response = await self._send(
                "GET", path, asked, seconds=_WATCH_SECONDS + _MARGIN_SECONDS
            )
            async with response:
                async for line in response.content:
                    event: Object = json.loads(line)
                    if event["type"] == "ERROR":
                        status = event["object"]
                        raise ApiError(status.get("code", 0), status.get("message", ""))
                    yield event
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise _unreachable(error) from error

    async def _answer(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Object | Sequence[Object] | None = None,
        kind: str = "application/json",
    ) -> Object:
        try:
            async with await self._send(method, path, query, body, kind=kind) as response:
                # Some subresources accept (202) with an empty body.
                answer: Object = json.loads(await response.read() or b"{}")
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise _unreachable(error) from error
        return answer

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Object | Sequence[Object] | None = None,
        *,
        kind: str = "application/json",
        seconds: float = _SECONDS,
    ) -> aiohttp.ClientResponse:
        """Send a request; its answer has begun then, though a watch's events may come late."""
        _, url, headers, sent, _ = await self._client.param_serialize(
            method,
            path,
            query_params=list(query.items()),
            header_params={"Accept": _ACCEPT, "Content-Type": kind},
            body=body,
            auth_settings=["BearerToken"],
        )
        timeout = aiohttp.ClientTimeout(total=seconds)
        async with asyncio.timeout(_SECONDS):
            answer = await self._client.call_api(
                method, url, headers, sent, _request_timeout=timeout
            )
        response: aiohttp.ClientResponse = answer.response
        if response.status >= HTTPStatus.BAD_REQUEST:
            async with response:
                raise ApiError(response.status, _message(await response.text()))
        return response


def _message(text: str) -> str:
    """What a Status object says, or the text as it is."""
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text.strip()


def _unreachable(error: Exception) -> Unavailable:
    return Unavailable(f"The API server does not answer ({error!r}).")
