"""The lines that matter in long answers of the hosts."""

from __future__ import annotations

from collections.abc import Iterator

_LOGIN = ("I_T nexus", "Initiator")
_DETAILS = ("SCSI SN", "Size", "Backing store path", "Backing store flags")


def everything(answer: str) -> list[str]:
    """The answer as it is."""
    return [line.rstrip() for line in answer.splitlines() if line.strip()]


def of_targets(answer: str) -> list[str]:
    """Of `tgtadm --mode target --op show`: each target, who is logged in, its LUN 1 with serial and
    backing store, and who may log in."""
    return list(_target_lines(answer))


def _target_lines(answer: str) -> Iterator[str]:
    section, lun = "", ""
    for line in everything(answer):
        key, _, value = line.strip().partition(": ")
        if line.startswith("Target "):
            yield line
        elif line.endswith(" information:"):
            section = line.strip().removesuffix(" information:")
            lun = ""
            if section in ("Account", "ACL"):
                yield line
        elif section in ("Account", "ACL") or key in _LOGIN:
            yield line
        elif key == "LUN":
            lun = value
            if lun == "1":
                yield line
        elif lun == "1" and key in _DETAILS:
            yield line
