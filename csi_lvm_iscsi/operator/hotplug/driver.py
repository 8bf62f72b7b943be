"""kopf: it holds VolumeHotplugs by our finalizer, and says when one comes and is to go.

It runs in a thread with an event loop of its own: it takes the signals of a main thread for itself,
and when it ends it cancels every task of its loop that was not there before (kopf,
_core/reactor/running.py: spawn_tasks, run_tasks).
"""

import asyncio
import logging
import socket
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

import kopf
import structlog
from kopf import AnnotationsProgressStorage, ConnectionInfo, DiffBaseStorage, OperatorRegistry

from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.operator.hotplug import objects
from csi_lvm_iscsi.operator.hotplug.reconciler import Reconciler
from csi_lvm_iscsi.storage_client.api_server import ApiServer

_PAUSE_SECONDS = 2.0
# After so long one that was told to end is left behind; its process ends then anyway.
_END_SECONDS = 10.0
T = TypeVar("T")
_log = structlog.get_logger()


class Driver:
    """kopf, which drives a reconciler."""

    def __init__(self, api: ApiServer, reconciler: Reconciler) -> None:
        self._api = api
        self._reconciler = reconciler

    async def run(self) -> None:
        """Drive it, for ever."""
        await self._reconciler.cluster.wait_for_api()
        while True:
            await self._run_once()
            _log.warning("kopf has ended; it is started anew")
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _run_once(self) -> None:
        """Run kopf until it ends, or this is cancelled."""
        stop, loop = threading.Event(), asyncio.get_running_loop()
        ended = loop.run_in_executor(None, self._operate, stop, _MainLoop(loop))
        try:
            await asyncio.shield(ended)
        finally:
            stop.set()
            await asyncio.wait({ended}, timeout=_END_SECONDS)

    def _operate(self, stop: threading.Event, main: "_MainLoop") -> None:
        _log_through_structlog()
        try:
            kopf.run(
                registry=self._registry(main),
                settings=_settings(),
                standalone=True,
                clusterwide=True,
                stop_flag=stop,
                identity=_identity(),
            )
        except Exception as error:  # noqa: BLE001 - whatever it fails of, it is started anew
            _log.warning("kopf failed", error=repr(error))

    def _registry(self, main: "_MainLoop") -> OperatorRegistry:
        registry = OperatorRegistry()
        group, plural = names.DRIVER, objects.PLURAL

        @kopf.on.login(registry=registry)
        async def login(**_: Any) -> ConnectionInfo:  # noqa: ANN401
            return await main.do(self._login())

        # A daemon is not started anew for an object that is already being deleted, as after a
        # restart of the operator (kopf, _core/reactor/processing.py: process_spawning_cause); a
        # handler of deletion is.
        @kopf.daemon(group=group, plural=plural, registry=registry, cancellation_timeout=1.0)
        async def keep(
            namespace: str | None,
            name: str,
            stopped: kopf.DaemonStopped,
            **_: Any,  # noqa: ANN401
        ) -> None:
            work = asyncio.ensure_future(main.do(self._reconciler.keep(namespace or "", name)))
            told = asyncio.ensure_future(stopped.wait())
            try:
                await asyncio.wait({work, told}, return_when=asyncio.FIRST_COMPLETED)
                if work.done():
                    work.result()
            finally:
                work.cancel()
                told.cancel()

        @kopf.on.delete(group=group, plural=plural, registry=registry)
        async def release(namespace: str | None, name: str, **_: Any) -> None:  # noqa: ANN401
            await main.do(self._reconciler.release(namespace or "", name))

        return registry

    async def _login(self) -> ConnectionInfo:
        login = await self._api.login()
        scheme, _, token = login.authorization.rpartition(" ")
        return ConnectionInfo(
            server=login.server,
            ca_path=login.authority,
            insecure=not login.verified,
            scheme=scheme or None,
            token=token or None,
            certificate_path=login.certificate,
            private_key_path=login.key,
        )


class _MainLoop:
    """The event loop of the process, as seen from another thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    async def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Do it there; cancelled with its caller."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))


class _NoDifferences(DiffBaseStorage):
    """Keeps nothing of earlier versions on the objects: no handler asks what has changed."""

    def fetch(self, *, body: Any) -> None:  # noqa: ANN401
        """No earlier version is known."""

    def store(self, *, body: Any, patch: Any, essence: Any) -> None:  # noqa: ANN401
        """Keep nothing."""


def _identity() -> Any:  # noqa: ANN401 - kopf exports no type for it
    """A name for this operator. Otherwise kopf asks for that of the user, which a container's user
    has none of (kopf, _core/engines/peering.py: detect_own_id)."""
    return socket.gethostname()


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.persistence.finalizer = objects.FINALIZER
    settings.persistence.diffbase_storage = _NoDifferences()
    settings.persistence.progress_storage = AnnotationsProgressStorage(prefix=names.DRIVER)
    # So long a daemon is given to see that it is to end, before it is cancelled, with a warning.
    settings.background.instant_exit_timeout = 0.1
    # Its events would be of its own work; ours tell of the volumes.
    settings.posting.enabled = False
    # What there is to serve is known, and not looked for.
    settings.scanning.disabled = True
    return settings


class _Forward(logging.Handler):
    """Puts what kopf logs into the log of this process."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log it."""
        _log.log(record.levelno, record.getMessage(), logger=record.name)


def _log_through_structlog() -> None:
    logger = logging.getLogger("kopf")
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    logger.handlers = [_Forward()]
    # It is so by intent, and said at each start otherwise.
    logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)
