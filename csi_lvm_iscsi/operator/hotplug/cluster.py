"""What of the cluster concerns VolumeHotplugs, watched."""

import asyncio
from collections.abc import Callable, Container, Iterable, Sequence

from csi_lvm_iscsi.operator.hotplug import machines, objects
from csi_lvm_iscsi.operator.hotplug.machines import Instance, VirtualMachine
from csi_lvm_iscsi.operator.hotplug.objects import (
    Claim,
    KubeVirt,
    StorageClass,
    VolumeAttachment,
    VolumeHotplug,
)
from csi_lvm_iscsi.storage_client.api_server import ApiServer
from csi_lvm_iscsi.storage_client.watching import Watched, key


class Cluster:
    """The objects as last known, and whom a change of them concerns."""

    def __init__(self, api: ApiServer) -> None:
        self.api = api
        self.on_change: Callable[[str], None] = lambda _: None
        """Called with the key of each VolumeHotplug that a change may concern."""

        self._was_known = False
        self._has_hotplugs = asyncio.Event()
        self.hotplugs = Watched(api, objects.PATH, VolumeHotplug.of, self._hotplugs_changed)
        self.machines = Watched(
            api, machines.MACHINES, VirtualMachine.of, self._machines_changed, optional=True
        )
        self.instances = Watched(
            api, machines.INSTANCES, Instance.of, self._machines_changed, optional=True
        )
        self.kubevirts = Watched(
            api, machines.KUBEVIRTS, KubeVirt.of, self._all_changed, optional=True
        )
        self.claims = Watched(api, "/api/v1/persistentvolumeclaims", Claim.of, self._claims_changed)
        self.attachments = Watched(
            api,
            "/apis/storage.k8s.io/v1/volumeattachments",
            VolumeAttachment.of,
            self._attachments_changed,
        )
        self.classes = Watched(
            api, "/apis/storage.k8s.io/v1/storageclasses", StorageClass.of, self._all_changed
        )

    async def follow(self) -> None:
        """Keep up with changes, for ever."""
        async with asyncio.TaskGroup() as tasks:
            for each in self._watched():
                tasks.create_task(each.follow())

    async def wait_for_api(self) -> None:
        """Wait until the API server has VolumeHotplugs at all."""
        await self._has_hotplugs.wait()

    @property
    def unknown(self) -> str:
        """Why not all is known; empty once it is. What is not known must not be taken for what is
        not there."""
        return next((each.error for each in self._watched() if each.error), "")

    def _watched(
        self,
    ) -> Sequence[
        Watched[VolumeHotplug]
        | Watched[VirtualMachine]
        | Watched[Instance]
        | Watched[KubeVirt]
        | Watched[Claim]
        | Watched[VolumeAttachment]
        | Watched[StorageClass]
    ]:
        return (
            self.hotplugs,
            self.machines,
            self.instances,
            self.kubevirts,
            self.claims,
            self.attachments,
            self.classes,
        )

    def kubevirt(self) -> KubeVirt | None:
        """The KubeVirt of this cluster: there is one at most."""
        found = self.kubevirts.objects
        return found[min(found)] if found else None

    def older(self, hotplug: VolumeHotplug, begun: Container[str]) -> tuple[VolumeHotplug, ...]:
        """Those of the same claim that were there before. `begun`: the uids of those that are about
        to get a disk, which their objects do not yet tell."""

        def age(each: VolumeHotplug) -> tuple[str, bool, str]:
            return each.age(is_begun=each.uid in begun)

        found = self._of_claim(key(hotplug.namespace, hotplug.claim))
        return tuple(each for each in found if age(each) < age(hotplug))

    def attachments_of(self, claim: Claim | None) -> tuple[VolumeAttachment, ...]:
        """Where the volume of a claim is attached, or is to be."""
        if claim is None or not claim.volume:
            return ()
        found = self.attachments.objects.values()
        return tuple(each for each in found if each.volume == claim.volume)

    def _of_claim(self, claim: str) -> Iterable[VolumeHotplug]:
        for each in self.hotplugs.objects.values():
            if key(each.namespace, each.claim) == claim:
                yield each

    def _hotplugs_changed(self, changed: Sequence[VolumeHotplug]) -> None:
        self._has_hotplugs.set()
        keys = {each.key for each in changed}
        for claim in {key(each.namespace, each.claim) for each in changed}:
            keys |= {each.key for each in self._of_claim(claim)}
        self._tell(keys)

    def _machines_changed(self, changed: Sequence[VirtualMachine | Instance]) -> None:
        concerned = {each.key for each in changed}
        self._tell(
            each.key
            for each in self.hotplugs.objects.values()
            if key(each.namespace, each.machine) in concerned
        )

    def _claims_changed(self, changed: Sequence[Claim]) -> None:
        concerned = {each.key for each in changed}
        self._tell(
            each.key
            for each in self.hotplugs.objects.values()
            if key(each.namespace, each.claim) in concerned
        )

    def _attachments_changed(self, changed: Sequence[VolumeAttachment]) -> None:
        volumes = {each.volume for each in changed}
        claims = self.claims.objects.values()
        self._claims_changed([each for each in claims if each.volume in volumes])

    def _all_changed(self, _: Sequence[KubeVirt | StorageClass]) -> None:
        self._tell(list(self.hotplugs.objects))

    def _tell(self, keys: Iterable[str]) -> None:
        is_known = not self.unknown
        if is_known and not self._was_known:
            keys = self.hotplugs.objects
        self._was_known = is_known
        for each in list(keys):
            self.on_change(each)
