"""The disks of other storage hosts, read over our own iSCSI: this host is an initiator then."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from csi_lvm_iscsi.commands.runner import Runner
from csi_lvm_iscsi.initiator.attachments import Attachments
from csi_lvm_iscsi.initiator.devices import Devices
from csi_lvm_iscsi.initiator.node_records import NodeRecords
from csi_lvm_iscsi.initiator.sessions import Sessions
from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.model.publications import Publication


class RemoteDisks:
    """Attaches disks of other storage hosts, to copy them."""

    def __init__(self, runner: Runner, host: str, keys: Mapping[str, bytes]) -> None:
        self._records = NodeRecords(runner, Path("/etc/iscsi"), names.initiator_iqn(host))
        self._attachments = Attachments(
            self._records,
            Sessions(runner, Path("/sys")),
            Devices(Path("/sys"), Path("/dev")),
            keys,
        )

    @contextlib.asynccontextmanager
    async def opened(self, publication: Publication) -> AsyncIterator[Path]:
        """The disk of a publication, attached while the context lasts.

        Raises what the login raises; DriverError where this host has no open-iscsi.
        """
        self._records.ensure_interface()
        session = await self._attachments.ensure_session(publication)
        try:
            device = await self._attachments.ensure_disk(publication, session)
            yield device.path
        finally:
            await self._attachments.release(publication.volume_id)
