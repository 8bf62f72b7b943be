"""Of several operators one works: the holder of a Lease. All it writes is written against the
version it read, so that for a moment two do no harm."""

import asyncio
import contextlib
import datetime as dt
from collections.abc import Callable, Coroutine
from http import HTTPStatus

import structlog

from csi_lvm_iscsi.model.errors import DriverError
from csi_lvm_iscsi.storage_client.api_server import ApiError, ApiServer, Object

# As client-go has them: a holder that could not renew for 10 s stops, and others wait for 15 s.
_DURATION_SECONDS = 15
_RENEW_SECONDS = 10.0
_RETRY_SECONDS = 2.0
_log = structlog.get_logger()


class Lease:
    """A Lease that this process holds, or waits for."""

    def __init__(self, api: ApiServer, namespace: str, name: str, identity: str) -> None:
        self._api = api
        self._leases = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._name = name
        self._identity = identity
        self.is_held = False
        """Whether this process works."""
        self._others: Object = {}
        self._others_since = 0.0

    async def lead(self, work: Callable[[], Coroutine[None, None, None]]) -> None:
        """Do `work` while the lease is ours, for ever. Raises what `work` raises."""
        while True:
            if not await self._take():
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            _log.info("leading", lease=self._name)
            self.is_held = True
            async with asyncio.TaskGroup() as tasks:
                working = tasks.create_task(work())
                await self._renew(working)
                working.cancel()
            self.is_held = False
            _log.warning("the lease is lost: another operator works", lease=self._name)

    async def release(self) -> None:
        """Let another have it at once, where it is ours."""
        with contextlib.suppress(DriverError):
            found = await self._api.get(f"{self._leases}/{self._name}")
            if found["spec"].get("holderIdentity") == self._identity:
                await self._write(found, "")

    async def _renew(self, working: asyncio.Task[None]) -> None:
        """Keep the lease, until that fails or the work ends."""
        now = asyncio.get_running_loop().time
        renewed = now()
        while not working.done() and now() < renewed + _RENEW_SECONDS:
            await asyncio.wait({working}, timeout=_RETRY_SECONDS)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(renewed + _RENEW_SECONDS):
                    if await self._take():
                        renewed = now()

    async def _take(self) -> bool:
        """Take the lease or renew it, where nobody else holds it."""
        try:
            found = await self._find()
            if not self._is_free(found["spec"]):
                return False
            await self._write(found, self._identity)
        except DriverError as error:
            if not isinstance(error, ApiError) or error.status != HTTPStatus.CONFLICT:
                _log.warning("the lease cannot be taken", lease=self._name, error=str(error))
            return False
        return True

    async def _find(self) -> Object:
        try:
            return await self._api.get(f"{self._leases}/{self._name}")
        except ApiError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
        lease = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name},
            "spec": {},
        }
        return await self._api.create(self._leases, lease)

    def _is_free(self, spec: Object) -> bool:
        """Whether it is ours, or its holder did not renew it for its time: by our clock, as the
        other's may be wrong."""
        now = asyncio.get_running_loop().time()
        if spec.get("holderIdentity") in (None, "", self._identity):
            return True
        if spec != self._others:
            self._others, self._others_since = spec, now
        return now >= self._others_since + float(spec["leaseDurationSeconds"])

    async def _write(self, found: Object, holder: str) -> None:
        now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        former = found["spec"]
        spec = {
            **former,
            "holderIdentity": holder,
            "leaseDurationSeconds": _DURATION_SECONDS,
            "renewTime": now,
        }
        if former.get("holderIdentity") != holder:
            spec["acquireTime"] = now
            spec["leaseTransitions"] = former.get("leaseTransitions", 0) + 1
        await self._api.replace(f"{self._leases}/{self._name}", {**found, "spec": spec})
