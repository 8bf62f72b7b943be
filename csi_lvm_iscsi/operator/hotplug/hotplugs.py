"""The VolumeHotplugs, while this operator leads."""

import asyncio
from collections import Counter
from collections.abc import Mapping

from csi_lvm_iscsi.operator.hotplug.cluster import Cluster
from csi_lvm_iscsi.operator.hotplug.driver import Driver
from csi_lvm_iscsi.operator.hotplug.reasons import Phase
from csi_lvm_iscsi.operator.hotplug.reconciler import Reconciler
from csi_lvm_iscsi.storage_client.api_server import ApiServer


class Hotplugs:
    """Keeps the VolumeHotplugs."""

    def __init__(self, api: ApiServer) -> None:
        self._api = api
        self._cluster = Cluster(api)

    async def run(self) -> None:
        """Keep them, for ever. What another leader did meanwhile is read anew each time."""
        self._cluster = Cluster(self._api)
        driver = Driver(self._api, Reconciler(self._cluster))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._cluster.follow())
            tasks.create_task(driver.run())

    def phases(self) -> Mapping[str, int]:
        """How many VolumeHotplugs there are of each phase."""
        found = Counter(
            each.status.get("phase", Phase.PENDING)
            for each in list(self._cluster.hotplugs.objects.values())
        )
        return {str(phase): found[phase] for phase in Phase}
