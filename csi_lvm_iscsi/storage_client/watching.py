"""The objects of one kind as the API server has them: listed once, then watched."""

import asyncio
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Generic, TypeVar

import structlog

from csi_lvm_iscsi.model.errors import Unavailable
from csi_lvm_iscsi.storage_client.api_server import ApiError, ApiServer, Object

T = TypeVar("T")
_PAUSE_SECONDS = 1.0
# So often at most it is looked whether an API that may be missing is there now.
_MISSING_SECONDS = 30.0
_log = structlog.get_logger()


def key_of(found: Object) -> str:
    """NAMESPACE/NAME of an object, or NAME of one in no namespace (client-go,
    tools/cache/store.go: MetaNamespaceKeyFunc)."""
    return key(found["metadata"].get("namespace", ""), found["metadata"]["name"])


def key(namespace: str, name: str) -> str:
    """The key of an object with this name; `namespace` is empty where it is in none."""
    return f"{namespace}/{name}" if namespace else name


def as_it_is(found: Object) -> Object:
    """An object whole, for a `Watched` that keeps it so."""
    return found


class Watched(Generic[T]):
    """Objects by key. What was last known stays while the API server does not answer."""

    def __init__(
        self,
        api: ApiServer,
        path: str,
        read: Callable[[Object], T],
        changed: Callable[[Sequence[T]], None],
        *,
        selector: str = "",
        optional: bool = False,
    ) -> None:
        """`read` takes of an object what is kept of it. `changed` is called when all were listed,
        and after each change of what is kept, with what is new and what it is in the place of.
        `selector` is one of labels. `optional`: the API may be missing; there are no objects then.
        """
        self._api = api
        self._path = path
        self._read = read
        self._changed = changed
        self._query = {"labelSelector": selector} if selector else {}
        self._optional = optional
        self.objects: dict[str, T] = {}
        self.error = "it was not asked yet"
        """Why the objects are not known; empty once they are."""

        self.missing = False
        """Whether the API server has no such API."""

    async def follow(self) -> None:
        """Keep the objects up to date, for ever."""
        version, said, pause = "", "", _PAUSE_SECONDS
        now = asyncio.get_running_loop().time
        while True:
            begun = now()
            try:
                version = version or await self._list()
                pause = _PAUSE_SECONDS
                async for event in self._api.watch(self._path, version, **self._query):
                    version = self._take(event)
                said = ""
                # The API server ends a watch in good order after its time. What happens while
                # it is not watched is told late, so only one that ended early is held up.
                if now() < begun + _PAUSE_SECONDS:
                    await asyncio.sleep(_PAUSE_SECONDS)
                continue
            except (ApiError, Unavailable) as error:
                # What is forgotten (410), or refused, is listed anew; what was cut off is resumed.
                version = "" if isinstance(error, ApiError) else version
                if self._optional and _is(error, HTTPStatus.NOT_FOUND):
                    self._miss()
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, _MISSING_SECONDS)
                    continue
                if self.error:
                    self.error = str(error)
                if str(error) != said and not _is(error, HTTPStatus.GONE):
                    _log.warning("objects cannot be read", path=self._path, error=str(error))
                said = str(error)
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _list(self) -> str:
        answer = await self._api.get(self._path, **self._query)
        self.missing = False
        self._replace({key_of(each): self._read(each) for each in answer["items"]})
        return str(answer["metadata"]["resourceVersion"])

    def _miss(self) -> None:
        if not self.missing:
            _log.info("there is no such API", path=self._path)
            self.missing = True
            self._replace({})

    def _replace(self, found: dict[str, T]) -> None:
        before, self.objects = self.objects, found
        self.error = ""
        changed = [old for name, old in before.items() if old != found.get(name)]
        changed += [new for name, new in found.items() if new != before.get(name)]
        self._changed(changed)

    def _take(self, event: Object) -> str:
        """Take note of a change; the version that it leads to."""
        found = event["object"]
        match event["type"]:
            case "ADDED" | "MODIFIED":
                old, new = self.objects.get(key_of(found)), self._read(found)
                self.objects[key_of(found)] = new
                if old != new:
                    self._changed([new] if old is None else [old, new])
            case "DELETED":
                self.objects.pop(key_of(found), None)
                self._changed([self._read(found)])
        return str(found["metadata"]["resourceVersion"])


def _is(error: Exception, status: HTTPStatus) -> bool:
    return isinstance(error, ApiError) and error.status == status
