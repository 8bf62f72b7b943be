"""Does what is decided: for each VolumeHotplug one step at a time, driven by changes."""

import asyncio
import contextlib
import datetime as dt
import math
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from http import HTTPStatus

import structlog

from csi_lvm_iscsi.model.errors import DriverError
from csi_lvm_iscsi.operator import events
from csi_lvm_iscsi.operator.hotplug import detaching, objects, rules, status
from csi_lvm_iscsi.operator.hotplug.attaching import RETRY_SECONDS
from csi_lvm_iscsi.operator.hotplug.cluster import Cluster
from csi_lvm_iscsi.operator.hotplug.decision import Decision
from csi_lvm_iscsi.operator.hotplug.inquiries import Inquiries
from csi_lvm_iscsi.operator.hotplug.objects import Outage, Told, VolumeHotplug, time_of
from csi_lvm_iscsi.operator.hotplug.requests import Requests
from csi_lvm_iscsi.operator.hotplug.world import Action, Refusal, World
from csi_lvm_iscsi.storage_client.api_server import ApiError
from csi_lvm_iscsi.storage_client.watching import key

# After so long it is decided anew where a write came too late and no change is seen.
_OVERTAKEN_SECONDS = 2.0
# Events are read when it takes longer than it does where all is well, and not more often than this.
_FIRST_COMPLAINTS = dt.timedelta(seconds=2)
_COMPLAINTS = dt.timedelta(seconds=5)
_RETRY = dt.timedelta(seconds=RETRY_SECONDS)
_LONG_AGO = dt.datetime.min.replace(tzinfo=dt.UTC)
_NEVER = math.inf
_Step = Callable[[str, "_Memory"], Coroutine[None, None, float | None]]
"""One step of a VolumeHotplug: the seconds to the next, which a change brings forward; None at the
end."""
_log = structlog.get_logger()


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


@dataclass(slots=True)
class _Memory:
    """What is remembered of a VolumeHotplug: nothing that matters when it is lost."""

    changed: asyncio.Event = field(default_factory=asyncio.Event)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    handle: tuple[str, str] = ("", "")
    """The PersistentVolume, and what its driver calls it."""

    asked: tuple[Action | None, str] = (None, "")
    """What KubeVirt was asked for last, and the version of the machine that was seen then: while
    it still is, what came of that is not."""

    answered: str = ""
    """When KubeVirt was asked to add the volume and has answered, as the status has it."""

    refusal: Refusal | None = None
    retry_at: dt.datetime = _LONG_AGO
    complaints_at: dt.datetime | None = None
    told: tuple[Told, ...] = ()
    users: tuple[str, ...] = ()
    outages: tuple[Outage, ...] = ()
    gone_node: str = ""


class Reconciler:
    """The VolumeHotplugs of a cluster."""

    def __init__(self, cluster: Cluster, clock: Callable[[], dt.datetime] = _now) -> None:
        self.cluster = cluster
        self._clock = clock
        cluster.on_change = self._wake
        self._inquiries = Inquiries(cluster.api)
        self._requests = Requests(cluster.api, self._inquiries)
        self._memories: dict[str, _Memory] = {}
        self._begun: set[str] = set()
        """The uids of those that are about to get a disk, or have it: of several of one claim that
        a moment brings together, not two may think themselves the eldest."""

    async def keep(self, namespace: str, name: str) -> None:
        """Keep a VolumeHotplug attached, until it is cancelled."""
        await self._drive(key(namespace, name), self._attach)

    async def release(self, namespace: str, name: str) -> None:
        """Detach a VolumeHotplug that is being deleted; returns when it may go."""
        name = key(namespace, name)
        await self._drive(name, self._detach)
        self._memories.pop(name, None)

    def _wake(self, name: str) -> None:
        if name in self._memories:
            self._memories[name].changed.set()

    async def _drive(self, name: str, step: _Step) -> None:
        """Take steps to the end."""
        while True:
            memory = self._memories.setdefault(name, _Memory())
            memory.changed.clear()
            seconds = await _to_its_end(self._locked(name, memory, step))
            if seconds is None:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if seconds == _NEVER else seconds):
                    await memory.changed.wait()

    async def _locked(self, name: str, memory: _Memory, step: _Step) -> float | None:
        async with memory.lock:
            try:
                return await step(name, memory)
            except DriverError as error:
                if not _is_overtaken(error):
                    _log.warning("hotplug not done", volume_hotplug=name, error=str(error))
                return _OVERTAKEN_SECONDS

    async def _attach(self, name: str, memory: _Memory) -> float | None:
        hotplug = self.cluster.hotplugs.objects.get(name)
        if self.cluster.unknown or hotplug is None or hotplug.deleted or not hotplug.is_held:
            return _NEVER
        world = await self._observed(hotplug, memory)
        # Of now, and not awaited until it is begun: another may have come meanwhile.
        world = replace(world, older=self.cluster.older(hotplug, self._begun))
        decided = rules.decide(world)
        if decided.action is Action.CHOOSE_NODE:
            world = await self._inquiries.rivals(world)
            decided = rules.decide(world)
        elif decided.action is Action.ADD:
            self._begun.add(hotplug.uid)
            world = await self._inquiries.rivals(world)
            decided = rules.decide(world)
            if decided.action is not Action.ADD:
                self._begun.discard(hotplug.uid)
        await self._carry_out(world, decided, memory)
        return _until(decided)

    async def _detach(self, name: str, memory: _Memory) -> float | None:
        hotplug = self.cluster.hotplugs.objects.get(name)
        if self.cluster.unknown:
            return _NEVER
        if hotplug is None:
            return None
        if not hotplug.deleted:
            return _NEVER
        world = await self._observed(hotplug, memory)
        decided = rules.decide(world)
        if decided.action is Action.FINISH:
            # It cannot be taken back, so nothing but what is there now counts.
            world = await self._inquiries.afresh(world)
            decided = rules.decide(world)
        await self._carry_out(world, decided, memory)
        if decided.action is not Action.FINISH:
            return _until(decided)
        self._begun.discard(hotplug.uid)
        return None

    async def _observed(self, hotplug: VolumeHotplug, memory: _Memory) -> World:
        cluster = self.cluster
        machine = cluster.machines.objects.get(key(hotplug.namespace, hotplug.machine))
        claim = cluster.claims.objects.get(key(hotplug.namespace, hotplug.claim))
        now = self._clock()
        if memory.refusal and now >= memory.retry_at:
            memory.refusal = replace(memory.refusal, is_due=True)
        world = World(
            now=now.replace(microsecond=0),
            hotplug=hotplug,
            older=cluster.older(hotplug, self._begun),
            kubevirt=cluster.kubevirt(),
            machine=machine,
            instance=cluster.instances.objects.get(key(hotplug.namespace, hotplug.machine)),
            claim=claim,
            storage_class=cluster.classes.objects.get(claim.storage_class) if claim else None,
            attachments=cluster.attachments_of(claim),
            volume_handle=memory.handle[1],
            told=memory.told,
            users=memory.users,
            unanswered=_unanswered(hotplug, memory, now),
            outages=memory.outages,
            gone_node=memory.gone_node,
            refusal=memory.refusal,
        )
        return await self._with_complaints(await self._with_serial(world, memory), memory)

    async def _with_serial(self, world: World, memory: _Memory) -> World:
        """The world with what the serial number is made of, where that is not settled. It is not
        any more where no disk of it is left: the claim may have been made anew since."""
        hotplug, claim = world.hotplug, world.claim
        is_settled = hotplug.serial_known and (hotplug.deleted or world.has_ours)
        if hotplug.serial_asked or is_settled or claim is None or not claim.is_bound:
            return world
        if memory.handle[0] != claim.volume:
            memory.handle = claim.volume, await self._inquiries.volume_handle(claim.volume)
        status = {name: each for name, each in hotplug.status.items() if name != "serial"}
        return replace(
            world, hotplug=replace(hotplug, status=status), volume_handle=memory.handle[1]
        )

    async def _with_complaints(self, world: World, memory: _Memory) -> World:
        """The world with what others complain of, where that matters by now."""
        now = self._clock()
        if not rules.decide(world).waits:
            memory.complaints_at, memory.told, memory.users = None, (), ()
            return replace(world, told=(), users=())
        if memory.complaints_at is None:
            memory.complaints_at = now + _FIRST_COMPLAINTS
        if now < memory.complaints_at:
            return world
        memory.complaints_at = now + _COMPLAINTS
        world = await self._inquiries.told(world)
        memory.told, memory.users = world.told, world.users
        memory.gone_node, memory.outages = world.gone_node, world.outages
        return world

    async def _carry_out(self, world: World, decided: Decision, memory: _Memory) -> None:
        """Write the status, and then ask KubeVirt: what was asked is known by what was written."""
        hotplug, now = world.hotplug, self._clock()
        asked = decided.action, world.machine.version if world.machine else ""
        if asked == memory.asked and now < memory.retry_at:
            decided = replace(decided, action=None)
        told = status.status_of(world, decided)
        patch = status.difference(hotplug.status, told)
        if patch and decided.action is not Action.FINISH:
            await self._write(hotplug, patch)
        for reason, message, warning in status.news(world, decided):
            await self._tell(hotplug, reason, message, warning=warning)
        if decided.action and decided.action is not Action.FINISH:
            memory.asked, memory.retry_at = asked, now + _RETRY
            await self._ask(world, decided, decided.action, memory)

    async def _ask(self, world: World, decided: Decision, action: Action, memory: _Memory) -> None:
        memory.refusal = await self._requests.make(world, decided, action)
        is_unanswered = memory.refusal is not None and memory.refusal.is_unanswered
        if action is Action.ADD and not is_unanswered and world.unanswered is None:
            memory.answered = status.written_time(world.now)
        if memory.refusal:
            memory.changed.set()

    async def _write(self, hotplug: VolumeHotplug, patch: dict[str, object]) -> None:
        path = f"/apis/{objects.API_VERSION}/namespaces/{hotplug.namespace}/{objects.PLURAL}"
        body = {"metadata": {"resourceVersion": hotplug.version}, "status": patch}
        await self.cluster.api.merge(f"{path}/{hotplug.name}/status", body)

    async def _tell(
        self, hotplug: VolumeHotplug, reason: str, message: str, *, warning: bool
    ) -> None:
        about = events.Subject(
            objects.API_VERSION, objects.KIND, hotplug.namespace, hotplug.name, hotplug.uid
        )
        await events.tell(self.cluster.api, about, reason, message, warning=warning)


def _is_overtaken(error: DriverError) -> bool:
    """Whether what was to be written is of a version that is no more."""
    overtaken = (HTTPStatus.CONFLICT, HTTPStatus.NOT_FOUND)
    return isinstance(error, ApiError) and error.status in overtaken


def _unanswered(hotplug: VolumeHotplug, memory: _Memory, now: dt.datetime) -> dt.datetime | None:
    """When it was asked to add the volume and may do it yet. The operator may have been restarted
    in between: without an answer that is remembered there was none."""
    text = hotplug.status.get("attachRequestedAt", "")
    asked = time_of(text)
    if asked is None or text == memory.answered or now - asked >= detaching.LATE:
        return None
    return asked


def _until(decided: Decision) -> float:
    """The seconds after which time alone may lead to another decision."""
    return decided.look_again or (RETRY_SECONDS if decided.action else _NEVER)


async def _to_its_end(step: Coroutine[None, None, float | None]) -> float | None:
    """Await a step, also when cancelled meanwhile: what it asks of KubeVirt must be known to
    whoever goes on."""
    task = asyncio.create_task(step)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise
