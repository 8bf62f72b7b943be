"""What this host tells of itself: from memory, as of the role's last look."""

from collections.abc import Iterator

from csi_lvm_iscsi import __version__
from csi_lvm_iscsi.model.errors import Unavailable
from csi_lvm_iscsi.model.host_status import HostStatus, VolumeGroupSpace
from csi_lvm_iscsi.storage.metrics import UpkeepState
from csi_lvm_iscsi.storage.portals import Portals
from csi_lvm_iscsi.storage.wiring import Parts


def status_of(host: str, parts: Parts, portals: Portals, upkeep: UpkeepState) -> HostStatus:
    """The status of now. Raises Unavailable before LVM's first report."""
    problems = list(_problems(upkeep))
    try:
        listening = portals.known()
    except Unavailable as error:
        listening = ()
        problems.append(str(error))
    return HostStatus(
        host=host,
        version=__version__,
        volume_groups=tuple(
            VolumeGroupSpace(each.name, each.uuid, each.size_bytes, each.free_bytes)
            for each in parts.catalog.groups()
        ),
        pools=tuple(parts.pools.all()),
        portals=listening,
        volumes=len(parts.catalog.volumes()),
        published_volumes=len(parts.publications.published()),
        problems=tuple(problems),
    )


def _problems(upkeep: UpkeepState) -> Iterator[str]:
    if not upkeep.tgtd_runs:
        yield "tgtd does not run, so no volume here can be reached: see its log, and start it."
    if upkeep.broken:
        yield (
            f"{upkeep.broken} published volumes could not be exported: the log of the storage role "
            "there tells why; it tries again each minute."
        )
