"""Making the checks of a host, each bounded, and showing what they found."""

import asyncio
import json
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence

from csi_lvm_iscsi.diagnosis.host import Host
from csi_lvm_iscsi.model.errors import DriverError
from csi_lvm_iscsi.model.findings import Finding, Level, error

Check = Callable[[], Awaitable[Sequence[Finding]]]

# More than one command may take, so that a command's own sentence is told.
_CHECK_SECONDS = 45.0


async def examine(host: Host, checks: Mapping[str, Check]) -> list[Finding]:
    """Make the checks one after the other. One that cannot be made, or hangs, is a finding."""
    if os.geteuid() != 0 or not os.access(host.root, os.R_OK | os.X_OK):
        return [
            error(
                "root",
                "only the host's root may see what this looks at; in a container that takes "
                "hostPID and privileges, too",
                "sudo csi-lvm-iscsi doctor KIND",
            )
        ]
    findings: list[Finding] = []
    for name, check in checks.items():
        findings += await _made(name, check)
    return findings


async def _made(name: str, check: Check) -> Sequence[Finding]:
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            return await check()
    except TimeoutError:
        reason = f"it did not end within {_CHECK_SECONDS:g} s: something it asks hangs"
    except DriverError as failure:
        reason = str(failure)
    except (OSError, ValueError, LookupError) as failure:
        reason = f"{type(failure).__name__}: {failure}"
    return [error(name, f"this check could not be made ({reason})", "dmesg --level err,warn")]


def as_text(findings: Sequence[Finding]) -> str:
    """A line for each finding, another for its fix, and a summary."""
    width = max((len(finding.check) for finding in findings), default=0)
    indent = " " * (len(Level.WARNING) + 2 + width + 2)
    lines = []
    for finding in findings:
        lines.append(f"{finding.level:9}{finding.check:{width + 2}}{finding.found}")
        if finding.fix:
            lines.append(f"{indent}fix: {finding.fix}")
    counts = Counter(finding.level for finding in findings)
    lines.append(", ".join(f"{counts[level]} {level}" for level in Level))
    return "\n".join(lines)


def as_json(role: str, facts: Mapping[str, str], findings: Sequence[Finding]) -> str:
    """The same for programs. `facts` are compared between hosts: what must differ among them."""
    return json.dumps(
        {
            "role": role,
            "facts": dict(facts),
            "findings": [
                {
                    "check": each.check,
                    "level": each.level.value,
                    "found": each.found,
                    "fix": each.fix,
                }
                for each in findings
            ],
        },
        indent=1,
    )
