"""The flow of NodePublishVolume and NodeUnpublishVolume: bind mounts of what is staged."""

from pathlib import Path

from csi_lvm_iscsi.initiator.attachments import Attachments
from csi_lvm_iscsi.initiator.devices import Device
from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.model.access import Capability
from csi_lvm_iscsi.model.errors import AlreadyExists, FailedPrecondition
from csi_lvm_iscsi.model.in_flight import InFlight
from csi_lvm_iscsi.model.publications import Publication
from csi_lvm_iscsi.node.mounts import Mounts, shows
from csi_lvm_iscsi.node.staged import Staged, check_volume_id
from csi_lvm_iscsi.records.directory import RecordDirectory


class BindMounts:
    """Publishes staged volumes on the paths of pods."""

    def __init__(
        self,
        records: RecordDirectory[Staged],
        attachments: Attachments,
        mounts: Mounts,
        in_flight: InFlight,
    ) -> None:
        self._records = records
        self._attachments = attachments
        self._mounts = mounts
        self._in_flight = in_flight

    async def publish(
        self,
        publication: Publication,
        staging_path: Path,
        target_path: Path,
        capability: Capability,
        *,
        read_only: bool,
    ) -> None:
        """Have the staged volume on `target_path`.

        All that was checked when it was staged is checked again, as kubelet may use a mount of
        before. A read-only raw block volume is bound as it is: a mount cannot forbid writing to a
        device node, and the disk may be written by another pod; kubelet gives the container
        read-only access to the device (its device cgroup).

        Raises NotFound for what is no volume id of ours, FailedPrecondition where it is not
        staged, or no more what was staged.
        """
        volume = publication.volume_id
        check_volume_id(volume)
        async with self._in_flight.call(volume, "NodePublishVolume"):
            self._check_staged(publication, staging_path, capability)
            device = await self._attachments.find_disk(publication)
            if capability.access_mode == "SINGLE_NODE_SINGLE_WRITER":
                self._check_unpublished(volume, device, staging_path, target_path)
            if capability.file_system is None:
                await self._bind(device.path, target_path, device, read_only=False)
                return
            staged = self._mounts.at(staging_path)
            if staged is None or not shows(staged, device):
                raise FailedPrecondition(
                    f"On {staging_path} not {device.path} of volume {volume} is mounted, but "
                    f"{staged.number if staged else 'nothing'}: call NodeUnstageVolume, then "
                    "NodeStageVolume."
                )
            await self._bind(
                staging_path, target_path, device, read_only=read_only or staged.read_only
            )

    async def unpublish(self, volume: str, target_path: Path) -> None:
        """Have nothing on `target_path` any more, and the path itself gone. OK, with the path left
        alone, for what is no volume id of ours."""
        async with self._in_flight.call(volume, "NodeUnpublishVolume"):
            if not names.is_volume_id(volume):
                return
            await self._mounts.unmount(target_path)
            _remove_mount_point(target_path)

    def _check_staged(
        self, publication: Publication, staging_path: Path, capability: Capability
    ) -> None:
        record = self._records.read(publication.volume_id)
        if record is None:
            raise FailedPrecondition(
                f"Volume {publication.volume_id} is not staged on this node: call NodeStageVolume."
            )
        if record.publication.nonce != publication.nonce:
            raise FailedPrecondition(
                f"Volume {publication.volume_id} is staged for an earlier publication: call "
                "NodeUnstageVolume, then NodeStageVolume."
            )
        asked = Staged.begin(publication, staging_path, capability, record.boot_id)
        if record.way != asked.way:
            raise FailedPrecondition(
                f"Volume {publication.volume_id} is staged as {record.way}, not as {asked.way}: "
                "call NodeUnstageVolume, then NodeStageVolume."
            )

    def _check_unpublished(
        self, volume: str, device: Device, staging_path: Path, target_path: Path
    ) -> None:
        published = self._mounts.at(target_path)
        if published is not None and shows(published, device):
            # A repeated call. kubelet makes mounts of its own then (volumeDevices/*/dev/*,
            # volume-subpaths/*), which are no pod's.
            return
        for mount in self._mounts.of(device):
            if mount.target not in (staging_path, target_path):
                raise FailedPrecondition(
                    f"Volume {volume} is for a single writer (ReadWriteOncePod) and published on "
                    f"{mount.target} already: call NodeUnpublishVolume for that first."
                )

    async def _bind(self, source: Path, target: Path, device: Device, *, read_only: bool) -> None:
        mounted = self._mounts.at(target)
        if mounted is None:
            _make_mount_point(target, is_directory=source != device.path)
            options = ("--options", "ro") if read_only else ()
            await self._mounts.mount("--bind", *options, str(source), str(target))
            return
        if not shows(mounted, device):
            raise FailedPrecondition(
                f"On {target} something else is mounted ({mounted.number}, {mounted.root}): call "
                "NodeUnpublishVolume for it first."
            )
        if mounted.read_only and not read_only:
            raise AlreadyExists(
                f"The volume is on {target} already, but read-only: call NodeUnpublishVolume first."
            )
        if read_only and not mounted.read_only:
            # mount(8) binds first and sets read-only then: a call was killed between the two.
            await self._mounts.mount("--options", "remount,bind,ro", str(target))


def _make_mount_point(target: Path, *, is_directory: bool) -> None:
    """A directory for a directory, a file for a device node. The source is not looked at: that
    fails where its file system was shut down."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if is_directory:
        target.mkdir(exist_ok=True)
    else:
        target.touch()


def _remove_mount_point(target: Path) -> None:
    try:
        if target.is_dir():
            target.rmdir()
        else:
            target.unlink(missing_ok=True)
    except OSError as error:
        raise FailedPrecondition(
            f"{target} cannot be removed ({error.strerror}): something else put files there. Move "
            "them away, then call again."
        ) from error
