"""Whether the storage role runs where it should."""

from pathlib import Path

from csi_lvm_iscsi.diagnosis.host import Host
from csi_lvm_iscsi.model.findings import Finding, error, ok

_CHECK = "role storage"


def running(host: Host, state_directory: Path) -> Finding:
    """Published volumes need the role: without it tgtd's death is the end of their exports."""
    role = host.role("storage")
    if role is not None:
        return ok(_CHECK, f"runs as process {role.pid}")
    grants = host.root / state_directory.relative_to("/") / "grants"
    published = len(list(grants.glob("[!.]*.json"))) if grants.is_dir() else 0
    if not published:
        return ok(_CHECK, "does not run, and no volume is published")
    return error(
        _CHECK,
        f"does not run, though {published} volumes are published: nothing would export them again "
        "after a restart of tgtd",
        "csi-lvm-iscsi storage OPTIONS",
    )
