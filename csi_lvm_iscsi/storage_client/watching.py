"""The objects of one kind as the API server has them: listed once, then watched."""

import asyncio
from collections.abc import Callable
from http import HTTPStatus

import structlog

from csi_lvm_iscsi.model.errors import Unavailable
from csi_lvm_iscsi.storage_client.api_server import ApiError, ApiServer, Object

_PAUSE_SECONDS = 1.0
_log = structlog.get_logger()


class Watched:
    """Objects by name. What was last known stays while the API server does not answer."""

    def __init__(
        self, api: ApiServer, path: str, changed: Callable[[], None], selector: str = ""
    ) -> None:
        """`changed` is called after each change; `selector` is one of labels."""
        self._api = api
        self._path = path
        self._changed = changed
        self._query = {"labelSelector": selector} if selector else {}
        self.objects: dict[str, Object] = {}
        self.error = "it was not asked yet"
        """Why the objects are not known; empty once they are."""

    async def follow(self) -> None:
        """Keep the objects up to date, for ever."""
        version, said = "", ""
        while True:
            try:
                version = version or await self._list()
                async for event in self._api.watch(self._path, version, **self._query):
                    version = self._take(event)
                said = ""
            except (ApiError, Unavailable) as error:
                # What is forgotten (410), or refused, is listed anew; what was cut off is resumed.
                version = "" if isinstance(error, ApiError) else version
                if self.error:
                    self.error = str(error)
                if str(error) != said and not _is_forgotten(error):
                    _log.warning("objects cannot be read", path=self._path, error=str(error))
                said = str(error)
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _list(self) -> str:
        answer = await self._api.get(self._path, **self._query)
        self.objects = {each["metadata"]["name"]: each for each in answer["items"]}
        self.error = ""
        self._changed()
        return str(answer["metadata"]["resourceVersion"])

    def _take(self, event: Object) -> str:
        """Take note of a change; the version that it leads to."""
        metadata = event["object"]["metadata"]
        match event["type"]:
            case "ADDED" | "MODIFIED":
                self.objects[metadata["name"]] = event["object"]
                self._changed()
            case "DELETED":
                self.objects.pop(metadata["name"], None)
                self._changed()
        return str(metadata["resourceVersion"])


def _is_forgotten(error: Exception) -> bool:
    return isinstance(error, ApiError) and error.status == HTTPStatus.GONE
