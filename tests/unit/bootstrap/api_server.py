"""An API server that knows Secrets: what bootstrap meets at the edge of its process."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from kubernetes import client


class ApiServer(ThreadingHTTPServer):
    """It keeps them as the real one does: a create of what is there, and a replace of another
    resourceVersion than it has, are conflicts."""

    daemon_threads = True

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.before_write: Callable[[str], None] = lambda _: None
        self.forbidden = False
        self._version = 0
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def api(self) -> client.CoreV1Api:
        configuration = client.Configuration(host=f"http://127.0.0.1:{self.server_address[1]}")
        return client.CoreV1Api(client.ApiClient(configuration))

    @property
    def versions(self) -> dict[str, str]:
        return {name: each["metadata"]["resourceVersion"] for name, each in self.objects.items()}

    def data(self, name: str) -> dict[str, bytes]:
        return {key: base64.b64decode(text) for key, text in self.objects[name]["data"].items()}

    def put(self, name: str, data: dict[str, bytes]) -> None:
        encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
        self.store(name, {"kind": "Secret", "metadata": {"name": name}, "data": encoded})

    def store(self, name: str, secret: dict[str, Any]) -> dict[str, Any]:
        self._version += 1
        secret["metadata"]["resourceVersion"] = str(self._version)
        self.objects[name] = secret
        return secret


@contextmanager
def running() -> Iterator[ApiServer]:
    server = ApiServer()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: ApiServer
    collection = "/api/v1/namespaces/storage/secrets"

    def do_GET(self) -> None:
        self._answer(*self._get())

    def _get(self) -> tuple[int, dict[str, Any]]:
        found = self.server.objects.get(self._name)
        if self.server.forbidden:
            return 403, {"message": "secrets is forbidden"}
        return (200, found) if found else (404, {"reason": "NotFound"})

    def do_POST(self) -> None:
        secret = self._body()
        name = secret["metadata"]["name"]
        self.server.before_write(name)
        if name in self.server.objects:
            self._answer(409, {"reason": "AlreadyExists"})
        else:
            self._answer(201, self.server.store(name, secret))

    def do_PUT(self) -> None:
        secret = self._body()
        self.server.before_write(self._name)
        found = self.server.objects[self._name]
        if secret["metadata"]["resourceVersion"] != found["metadata"]["resourceVersion"]:
            self._answer(409, {"reason": "Conflict"})
        else:
            self._answer(200, self.server.store(self._name, secret))

    @property
    def _name(self) -> str:
        assert self.path.startswith(self.collection + "/")
        return self.path.removeprefix(self.collection + "/")

    def _body(self) -> dict[str, Any]:
        read: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        return read

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        encoded = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass
