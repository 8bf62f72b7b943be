"""Thin pools: whether they keep tenants apart, and how full they are."""

from collections.abc import Mapping, Sequence

from csi_lvm_iscsi.model.findings import Finding, error, ok, warning

_FULL_PERCENT = 80.0
_TOO_FULL_PERCENT = 95.0


def pool_findings(volume_group: str, pool: Mapping[str, str], *, zeroes: bool) -> Sequence[Finding]:
    """What is wrong with a pool, of which `pool` is lvm's report."""
    name = f"{volume_group}/{pool['lv_name']}"
    findings = []
    if not zeroes:
        findings.append(
            error(
                "thin pool",
                f"{name} does not zero new blocks: a volume could show another tenant's data",
                f"lvchange --zero y {name}",
            )
        )
    if pool["lv_when_full"] != "error":
        findings.append(
            error(
                "thin pool",
                f"{name} holds writes back when it is full, which blocks tgtd and all volumes",
                f"lvchange --errorwhenfull y {name}",
            )
        )
    if pool["lv_check_needed"] or pool["lv_health_status"]:
        state = pool["lv_health_status"] or "needs a check"
        findings.append(
            error(
                "thin pool",
                f"{name}: {state}. Detach its volumes, then have it repaired",
                f"vgchange --activate n {volume_group} && lvconvert --yes --repair {name} && "
                f"vgchange --activate y {volume_group}",
            )
        )
    findings += _used(name, pool)
    return findings or [
        ok(
            "thin pool",
            f"{name} zeroes, fails when full; data {_percent(pool, 'data')} %, metadata "
            f"{_percent(pool, 'metadata')} % used",
        )
    ]


def _used(name: str, pool: Mapping[str, str]) -> Sequence[Finding]:
    grow = {
        "data": f"lvextend --extents +50%FREE {name}",
        "metadata": f"lvextend --poolmetadatasize +{pool['lv_metadata_size']}b {name}",
    }
    findings = []
    for kind, fix in grow.items():
        used = _percent(pool, kind)
        if used >= _FULL_PERCENT:
            level = error if used >= _TOO_FULL_PERCENT else warning
            findings.append(
                level("thin pool", f"{name}: {used} % of its {kind} used: extend it", fix)
            )
    return findings


def _percent(pool: Mapping[str, str], kind: str) -> float:
    """Empty while the pool is not active."""
    return float(pool[f"{kind}_percent"] or 0)
