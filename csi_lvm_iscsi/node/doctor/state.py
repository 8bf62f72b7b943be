"""What the role node has on a host: its interface record, its target records, sessions, disks.

A host may be a storage host too, which borrows disks to copy them: those are left out.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from csi_lvm_iscsi.diagnosis.host import Host
from csi_lvm_iscsi.initiator.node_records import INTERFACE, STORAGE_INTERFACE
from csi_lvm_iscsi.model import names

ISCSI = "etc/iscsi"
_OURS = f"{names.IQN_PREFIX}:"
_LINE = re.compile(r"^([\w.\[\]]+) = (.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Record:
    """A record of iscsiadm of one portal of a target of ours."""

    target: str
    portal: str
    startup: str


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk of a session."""

    name: str
    number: str
    """major:minor."""

    holders: tuple[str, ...]
    """The device-mapper uuids of what is made of it."""


@dataclass(frozen=True, slots=True)
class Session:
    """A session to a target of ours, as the kernel has it."""

    id: str
    target: str
    state: str
    initiator: str
    portal: str
    disks: tuple[Disk, ...]


def settings(text: str) -> dict[str, str]:
    """The settings of a record of iscsiadm; of one that stands twice, the last counts."""
    return dict(_LINE.findall(text))


def initiator_name(host: Host) -> str:
    """The name that our interface record has; empty where there is none."""
    return settings(host.read(f"{ISCSI}/ifaces/{INTERFACE}")).get("iface.initiatorname", "")


def records(host: Host) -> list[Record]:
    """The records of our targets. iscsiadm keeps them in a file, or, with several interfaces, in a
    folder per portal (open-iscsi, usr/idbm.c)."""
    found = []
    for target in sorted((host.root / ISCSI / "nodes").glob(f"{_OURS}*")):
        for place in sorted(target.glob("*,*")):
            files = [place] if place.is_file() else sorted(place.iterdir())
            for path in files:
                kept = settings(path.read_text(errors="replace"))
                if kept.get("iface.iscsi_ifacename") == STORAGE_INTERFACE:
                    continue
                address, port = place.name.split(",")[:2]
                portal = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
                found.append(Record(target.name, portal, kept.get("node.startup", "")))
    return found


def sessions(host: Host) -> list[Session]:
    """The sessions to targets of ours."""
    found = []
    for entry in sorted((host.root / "sys/class/iscsi_session").glob("session*")):
        place = f"sys/class/iscsi_session/{entry.name}"
        target = host.read(f"{place}/targetname")
        borrowed = host.read(f"{place}/ifacename") == STORAGE_INTERFACE
        if target.startswith(_OURS) and not borrowed:
            number = entry.name.removeprefix("session")
            connection = f"sys/class/iscsi_connection/connection{number}:0"
            address = host.read(f"{connection}/persistent_address")
            port = host.read(f"{connection}/persistent_port")
            found.append(
                Session(
                    id=number,
                    target=target,
                    state=host.read(f"{place}/state"),
                    initiator=host.read(f"{place}/initiatorname"),
                    portal=f"[{address}]:{port}" if ":" in address else f"{address}:{port}",
                    disks=_disks(host, entry),
                )
            )
    return found


def _disks(host: Host, session: Path) -> tuple[Disk, ...]:
    found = []
    for block in sorted(session.glob("device/target*/*:*/block/*")):
        name = block.name
        holders = sorted((host.root / "sys/class/block" / name / "holders").glob("dm-*"))
        found.append(
            Disk(
                name,
                host.read(f"sys/class/block/{name}/dev"),
                tuple(host.read(f"sys/class/block/{each.name}/dm/uuid") for each in holders),
            )
        )
    return tuple(found)


def staged(host: Host, state_directory: Path) -> set[str]:
    """The ids of volumes that are staged, or being staged or unstaged."""
    place = host.root / state_directory.relative_to("/") / "staged"
    return {path.stem for path in place.glob("[!.]*.json")}
