"""What is asked of the API server only when a decision needs it: it would be much to watch."""

import asyncio
import contextlib
import urllib.parse
from collections.abc import AsyncIterator
from dataclasses import replace
from http import HTTPStatus

from csi_lvm_iscsi.model.errors import DriverError
from csi_lvm_iscsi.operator.hotplug import detaching, machines, outages, pods, quotes
from csi_lvm_iscsi.operator.hotplug.machines import Instance, VirtualMachine
from csi_lvm_iscsi.operator.hotplug.objects import Outage, Told, VolumeHotplug
from csi_lvm_iscsi.operator.hotplug.world import World
from csi_lvm_iscsi.storage_client.api_server import ApiError, ApiServer, Object


class Inquiries:
    """Questions to the API server."""

    def __init__(self, api: ApiServer) -> None:
        self._api = api

    async def volume_handle(self, volume: str) -> str:
        """What the driver calls a PersistentVolume; its own name, where no CSI driver made it.
        Raises DriverError."""
        spec = (await self._api.get(f"/api/v1/persistentvolumes/{_quoted(volume)}"))["spec"]
        return str((spec.get("csi") or {}).get("volumeHandle") or volume)

    async def afresh(self, world: World) -> World:
        """The world with its machine as it is now: what was watched may be a moment old. Raises
        DriverError."""
        hotplug = world.hotplug
        machine, instance = await asyncio.gather(
            self.machine(hotplug), self._find(_path(machines.INSTANCES, hotplug))
        )
        world = replace(
            world, machine=machine, instance=Instance.of(instance) if instance else None
        )
        gone_node = await self._gone_node(world.running) if world.node_is_gone else ""
        return replace(world, gone_node=gone_node, outages=await self._outages(world))

    async def machine(self, hotplug: VolumeHotplug) -> VirtualMachine | None:
        """The machine as it is now; None where there is none. Raises DriverError."""
        found = await self._find(_path(machines.MACHINES, hotplug))
        return VirtualMachine.of(found) if found else None

    async def told(self, world: World) -> World:
        """The world with what others complain of. What cannot be read is left out."""
        hotplug, running = world.hotplug, world.running
        told: list[Told] = []
        with contextlib.suppress(DriverError):
            told += [each async for each in self._complaints(world)]
        users, gone_node, down = world.users, world.gone_node, world.outages
        with contextlib.suppress(DriverError):
            gone_node = await self._gone_node(running)
            if running and not hotplug.deleted:
                users = await self._users(world, running.node)
        with contextlib.suppress(DriverError):
            down = await self._outages(world)
        return replace(world, told=tuple(told), users=users, gone_node=gone_node, outages=down)

    async def _gone_node(self, running: Instance | None) -> str:
        """The node that an instance is on, where that is no more; else empty."""
        if running is None or not running.node:
            return ""
        found = await self._find(f"/api/v1/nodes/{_quoted(running.node)}")
        return "" if found else running.node

    async def _outages(self, world: World) -> tuple[Outage, ...]:
        """The parts of KubeVirt that are down, where a deletion waits, and KubeVirt says that it is
        not available or does not do what it was asked."""
        kubevirt = world.kubevirt
        if not (world.hotplug.deleted and kubevirt):
            return ()
        if not kubevirt.unavailable and not detaching.is_slow(world):
            return ()
        path = f"/api/v1/namespaces/{kubevirt.namespace}/pods"
        found = await self._api.get(path, labelSelector=outages.SELECTOR)
        node = world.running.node if world.running else ""
        return tuple(outages.outages(found["items"], node))

    async def _complaints(self, world: World) -> AsyncIterator[Told]:
        """The warnings of the claim, and of the pod through which the node gets the volume."""
        hotplug = world.hotplug
        about = []
        if world.claim and not world.claim.is_bound:
            # It waits since it is there, so that none of its warnings is of another wait.
            kind = "PersistentVolumeClaim"
            about.append(quotes.Subject(kind, hotplug.claim, world.claim.uid, kind))
        ours = world.entry.name if world.entry else hotplug.status.get("volumeName", "")
        given = world.given(ours)
        if given and given.attachment_pod:
            pod, uid = given.attachment_pod, given.attachment_pod_uid
            about.append(quotes.Subject("Pod", pod, uid, "attachment pod", world.began))
        path = f"/api/v1/namespaces/{hotplug.namespace}/events"
        for subject in about:
            selector = f"involvedObject.kind={subject.kind},involvedObject.name={subject.name}"
            found = await self._api.get(path, fieldSelector=selector)
            for each in quotes.warnings(found["items"], subject):
                yield each

    async def rivals(self, world: World) -> World:
        """The world with the pods of others that use its claim, where that is for one user, or has
        no volume yet. Raises DriverError."""
        hotplug, claim = world.hotplug, world.claim
        if claim is None or (claim.is_bound and claim.is_for_many(read_only=hotplug.read_only)):
            return world
        found = await self._api.get(f"/api/v1/namespaces/{hotplug.namespace}/pods")
        using = pods.others(found["items"], hotplug.claim, hotplug.machine)
        return replace(world, rivals=tuple(using))

    async def _users(self, world: World, here: str) -> tuple[str, ...]:
        """The pods that use the claim on other nodes, where it is attached there."""
        if not any(each.node != here for each in world.attachments):
            return ()
        found = await self._api.get(f"/api/v1/namespaces/{world.hotplug.namespace}/pods")
        return tuple(
            sorted(
                each["metadata"]["name"]
                for each in found["items"]
                if each["spec"].get("nodeName") not in (None, here)
                and pods.uses(each, world.hotplug.claim)
            )
        )

    async def _find(self, path: str) -> Object | None:
        try:
            return await self._api.get(path)
        except ApiError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            return None


def _path(collection: str, hotplug: VolumeHotplug) -> str:
    group, _, plural = collection.rpartition("/")
    return f"{group}/namespaces/{hotplug.namespace}/{plural}/{_quoted(hotplug.machine)}"


def _quoted(name: str) -> str:
    return urllib.parse.quote(name, safe="")
