"""An API server in memory: what the reconciler asks of one, without network or time, so that
thousands of sequences can be tried."""

from __future__ import annotations

import copy
import datetime as dt
import itertools
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

import jsonpatch

from csi_lvm_iscsi.model.errors import Unavailable
from csi_lvm_iscsi.storage_client.api_server import ApiError
from tests.unit.cluster.fake_api import merged

Object = dict[str, Any]


class Place(NamedTuple):
    """Where an object or a collection is, as its path has it."""

    group: str
    namespace: str
    plural: str
    name: str
    part: str

    @classmethod
    def of(cls, path: str) -> Place:
        words = path.strip("/").split("/")
        at = 3 if words[0] == "apis" else 2
        group, namespace = "/" + "/".join(words[:at]), ""
        if words[at] == "namespaces" and len(words) > at + 2:
            namespace, at = words[at + 1], at + 2
        plural, name, part = [*words[at:], "", "", ""][:3]
        return cls(group, namespace, plural, name, part)


Key = tuple[str, str, str, str]


class MemoryApi:
    """Objects with versions, finalizers and a status of their own."""

    def __init__(self, clock: Callable[[], dt.datetime]) -> None:
        self.objects: dict[Key, Object] = {}
        self.is_down = False
        self.admit: Callable[[Place, Object], None] = lambda _place, _made: None
        """Raises ApiError where a webhook refuses a change."""

        self.before_patch: Callable[[str, Sequence[Object]], None] = lambda _path, _operations: None
        """Raises Unavailable where a patch is not answered in time."""

        self.subresource: Callable[[Place, Object], None] = lambda _place, _body: None
        self.patches: list[tuple[Place, Sequence[Object], Object]] = []
        """The JSON patches that were done, each with the object before."""

        self._versions = itertools.count(1)
        self._clock = clock

    async def get(self, path: str, **query: str) -> Object:
        self._check_up()
        place = Place.of(path)
        if place.name:
            return copy.deepcopy(self._found(place))
        items = [
            copy.deepcopy(each)
            for key, each in self.objects.items()
            if key[0] == place.group
            and key[2] == place.plural
            and place.namespace in ("", key[1])
            and _selected(each, query.get("fieldSelector", ""))
            and _labelled(each, query.get("labelSelector", ""))
        ]
        return {"metadata": {"resourceVersion": str(next(self._versions))}, "items": items}

    async def create(self, path: str, body: Object) -> Object:
        self._check_up()
        place, made = Place.of(path), copy.deepcopy(body)
        metadata = made["metadata"]
        number = next(self._versions)
        metadata.setdefault("name", f"{metadata.get('generateName', '')}{number}")
        key = (place.group, place.namespace, place.plural, metadata["name"])
        if key in self.objects:
            raise ApiError(HTTPStatus.CONFLICT, "already exists")
        if place.namespace:
            metadata["namespace"] = place.namespace
        created = self._clock().strftime("%Y-%m-%dT%H:%M:%SZ")
        metadata |= {"uid": f"uid-{number}", "generation": 1, "creationTimestamp": created}
        return self._put(key, made)

    async def replace(self, path: str, body: Object) -> Object:
        self._check_up()
        place = Place.of(path)
        if "subresources" in place.group:
            self.subresource(place, copy.deepcopy(body))
            return {}
        return self._write(place, self._found(place), copy.deepcopy(body))

    async def merge(self, path: str, body: Object) -> Object:
        self._check_up()
        place = Place.of(path)
        found = self._found(place)
        version = body.get("metadata", {}).get("resourceVersion")
        if version not in (None, found["metadata"]["resourceVersion"]):
            raise ApiError(HTTPStatus.CONFLICT, "the object has been modified")
        return self._write(place, found, merged(found, body))

    async def patch(self, path: str, operations: Sequence[Object]) -> Object:
        self._check_up()
        self.before_patch(path, operations)
        place = Place.of(path)
        before = copy.deepcopy(self._found(place))
        try:
            made = jsonpatch.apply_patch(before, list(operations))
        except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException):
            message = "the server rejected our request due to an error in our request"
            raise ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, message) from None
        written = self._write(place, before, made)
        self.patches.append((place, operations, before))
        return written

    async def delete(self, path: str) -> None:
        self._check_up()
        place = Place.of(path)
        found = self._found(place)
        if found["metadata"].get("finalizers"):
            if "deletionTimestamp" not in found["metadata"]:
                found["metadata"]["deletionTimestamp"] = self._clock().isoformat()
                self._put(place[:4], found)
            return
        del self.objects[place[:4]]

    def _write(self, place: Place, before: Object, made: Object) -> Object:
        kept = "spec" if place.part == "status" else "status"
        made = {**made, **({kept: before[kept]} if kept in before else {})}
        made["metadata"] = {**before["metadata"], **made["metadata"]}
        if {**made, "metadata": _lasting(made)} == {**before, "metadata": _lasting(before)}:
            return copy.deepcopy(before)
        self.admit(place, made)
        if made.get("spec") != before.get("spec"):
            made["metadata"]["generation"] += 1
        if "deletionTimestamp" in made["metadata"] and not made["metadata"].get("finalizers"):
            del self.objects[place[:4]]
            return made
        return self._put(place[:4], made)

    def _put(self, key: Key, made: Object) -> Object:
        made["metadata"]["resourceVersion"] = str(next(self._versions))
        self.objects[key] = made
        return copy.deepcopy(made)

    def _found(self, place: Place) -> Object:
        if place[:4] not in self.objects:
            raise ApiError(HTTPStatus.NOT_FOUND, f"{place.plural} {place.name} not found")
        return self.objects[place[:4]]

    def _check_up(self) -> None:
        if self.is_down:
            raise Unavailable("The API server does not answer.")


def _lasting(found: Object) -> Object:
    return {name: value for name, value in found["metadata"].items() if name != "resourceVersion"}


def _selected(found: Object, selector: str) -> bool:
    for term in filter(None, selector.split(",")):
        path, _, wanted = term.partition("=")
        value: Any = found
        for word in path.split("."):
            value = value.get(word, "")
        if value != wanted:
            return False
    return True


def _labelled(found: Object, selector: str) -> bool:
    """Of the selectors, `label in (value,value)`."""
    if not selector:
        return True
    label, _, values = selector.partition(" in ")
    wanted = values.strip("()").split(",")
    return found["metadata"].get("labels", {}).get(label) in wanted
