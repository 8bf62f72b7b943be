"""The API server of Kubernetes in place of the real one: its answers for what we ask of it.

The same tests run against a real kube-apiserver (`make test-chart`), which keeps this true.
"""

from __future__ import annotations

import asyncio
import copy
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from aiohttp import web

Object = dict[str, Any]
_REASONS = {403: "Forbidden", 404: "NotFound", 409: "Conflict", 410: "Expired", 422: "Invalid"}
_CRD = Path(__file__).parents[3] / "deploy/helm/csi-lvm-iscsi/files/storagenode-v1alpha1.yaml"
_DEFAULTS = {"storagenodes": {"schedulable": True, "retired": False}}


class FakeApi:
    """Objects by the path of their collection, and the events since the last compaction."""

    def __init__(self) -> None:
        self.collections: dict[str, dict[str, Object]] = {}
        self.requests: list[tuple[str, str]] = []
        self.down = False
        self.refused: set[str] = set()
        self._versions = itertools.count(1000)
        self._version = next(self._versions)
        self._oldest = 0
        self._events: list[tuple[int, str, Object]] = []
        self._news = asyncio.Condition()
        self._watches: set[asyncio.Task[Any]] = set()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve; gives the URL."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        try:
            yield f"http://{host}:{port}"
        finally:
            self.cut()
            await runner.cleanup()

    def cut(self) -> None:
        """Close all watches, as an API server does that ends."""
        for task in self._watches:
            task.cancel()

    def compact(self) -> None:
        """Forget all versions before now: who resumes from one gets 410 Gone."""
        self._oldest = self._version

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.method, request.path))
        if self.down:
            if request.transport:
                request.transport.abort()
            raise web.HTTPServiceUnavailable
        collection, name, part = _parts(request.path)
        if collection in self.refused:
            return web.json_response(_Refused(HTTPStatus.FORBIDDEN, "no right").status, status=403)
        if request.query.get("watch"):
            return await self._watch(request, collection)
        try:
            answer = await self._done(request, collection, name, part)
        except _Refused as refused:
            return web.json_response(refused.status, status=refused.status["code"])
        return web.json_response(answer, status=201 if request.method == "POST" else 200)

    async def _done(self, request: web.Request, collection: str, name: str, part: str) -> Object:
        objects = self.collections.setdefault(collection, {})
        body = await request.json() if request.can_read_body else {}
        match request.method:
            case "GET" if not name:
                items = [each for each in objects.values() if _selected(each, request)]
                version = {"resourceVersion": str(self._version)}
                return {"kind": "List", "metadata": version, "items": items}
            case "POST":
                metadata = body["metadata"]
                made = metadata.setdefault("name", f"{metadata.get('generateName')}{self._version}")
                if made in objects and "generateName" not in metadata:
                    raise _Refused(HTTPStatus.CONFLICT, f'"{made}" already exists')
                return await self._put(collection, made, {}, body, "")
            case method:
                if name not in objects:
                    raise _Refused(HTTPStatus.NOT_FOUND, f'"{name}" not found')
                old = objects[name]
                if method == "GET":
                    return old
                if method == "DELETE":
                    _check_deletion(collection, old)
                    await self._changed(collection, "DELETED", objects.pop(name))
                    return old
                given = body.get("metadata", {}).get("resourceVersion")
                if given not in (None, old["metadata"]["resourceVersion"]):
                    raise _Refused(HTTPStatus.CONFLICT, f'Operation on "{name}": modified')
                new = merged(old, body) if method == "PATCH" else body
                return await self._put(collection, name, old, new, part)

    async def _put(self, collection: str, name: str, old: Object, new: Object, part: str) -> Object:
        kept = "status" if part == "" else "spec"
        made = copy.deepcopy({**new, **({kept: old[kept]} if kept in old else {})})
        if not old:
            made.pop("status", None)
        made["spec"] = _DEFAULTS.get(collection.rpartition("/")[2], {}) | made.get("spec", {})
        if _is_of_storage_nodes(collection):
            _check_schema(made)
        metadata = {"uid": f"uid-{name}-{self._version}", "generation": 1, "name": name}
        made["metadata"] = metadata | new["metadata"] | old.get("metadata", {})
        if old and made["spec"] != old.get("spec"):
            made["metadata"]["generation"] += 1
        if {**made, "metadata": 0} == {**old, "metadata": 0}:
            return old  # what changes nothing makes no new version
        await self._changed(collection, "MODIFIED" if old else "ADDED", made)
        self.collections[collection][name] = made
        return made

    async def _changed(self, collection: str, kind: str, changed: Object) -> None:
        self._version = next(self._versions)
        changed["metadata"]["resourceVersion"] = str(self._version)
        event = {"type": kind, "object": copy.deepcopy(changed)}
        async with self._news:
            self._events.append((self._version, collection, event))
            self._news.notify_all()

    async def _watch(self, request: web.Request, collection: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        seen = int(request.query["resourceVersion"])
        if seen < self._oldest:
            gone = _Refused(HTTPStatus.GONE, f"too old resource version: {seen}")
            await response.write(_line({"type": "ERROR", "object": gone.status}))
            return response
        task = asyncio.ensure_future(self._stream(request, response, collection, seen))
        self._watches.add(task)
        try:
            await task
        except asyncio.CancelledError:
            if request.transport:
                request.transport.abort()
        finally:
            self._watches.discard(task)
        return response

    async def _stream(
        self, request: web.Request, response: web.StreamResponse, collection: str, seen: int
    ) -> None:
        while True:
            for version, where, event in list(self._events):
                if version > seen and where == collection and _selected(event["object"], request):
                    await response.write(_line(event))
            seen = self._version
            async with self._news:
                await self._news.wait_for(lambda: self._version > seen)  # noqa: B023


class _Refused(Exception):
    def __init__(self, code: HTTPStatus, message: str) -> None:
        self.status: Object = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": _REASONS[code],
            "code": code.value,
        }


def _is_of_storage_nodes(collection: str) -> bool:
    return collection.endswith("/storagenodes")


def _check_deletion(collection: str, found: Object) -> None:
    """As the chart's ValidatingAdmissionPolicy does."""
    if _is_of_storage_nodes(collection) and not found["spec"].get("retired"):
        raise _Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "volumes of that host count as deleted")


def _check_schema(made: Object) -> None:
    """By the schema of the chart; stricter than a real one, which drops unknown fields."""
    try:
        jsonschema.validate(
            {part: made[part] for part in ("spec", "status") if part in made}, SCHEMA
        )
    except jsonschema.ValidationError as error:
        raise _Refused(
            HTTPStatus.UNPROCESSABLE_ENTITY, f"{error.json_path}: {error.message}"
        ) from None


def _closed(schema: Object) -> Object:
    """A structural schema that takes no fields but its own."""
    made = {key: value for key, value in schema.items() if not key.startswith("x-")}
    if "properties" in schema:
        made["properties"] = {key: _closed(each) for key, each in schema["properties"].items()}
        made["additionalProperties"] = False
    if "items" in schema:
        made["items"] = _closed(schema["items"])
    return made


SCHEMA = _closed(yaml.safe_load(_CRD.read_text())[0]["schema"]["openAPIV3Schema"])


def merged(old: Any, patch: Any) -> Any:  # noqa: ANN401
    """A JSON merge patch, RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    made = dict(old) if isinstance(old, dict) else {}
    for key, value in patch.items():
        if value is None:
            made.pop(key, None)
        else:
            made[key] = merged(made.get(key), value)
    return made


def _parts(path: str) -> tuple[str, str, str]:
    """The path of the collection, the name and the subresource."""
    words = path.strip("/").split("/")
    at = 3 if words[0] == "apis" else 2
    at += 2 if words[at] == "namespaces" else 0
    name, part = [*words[at + 1 :], "", ""][:2]
    return "/" + "/".join(words[: at + 1]), name, part


def _selected(found: Object, request: web.Request) -> bool:
    labels = found["metadata"].get("labels", {})
    wanted = filter(None, request.query.get("labelSelector", "").split(","))
    return all(
        labels.get(key) == value for key, _, value in (each.partition("=") for each in wanted)
    )


def _line(event: Object) -> bytes:
    return json.dumps(event).encode() + b"\n"
