"""The command `csi-lvm-iscsi doctor`: looks at the host that it runs on, and changes nothing."""

import argparse
import sys
from pathlib import Path

from prometheus_client import CollectorRegistry

from csi_lvm_iscsi.model.findings import Finding, Level

_DESCRIPTION = """\
Looks for what is wrong on this host, before and after the driver is installed on it: a line for
each finding and, where something is wrong, the command that puts it right. Changes nothing. Run it
as root. Exit code: 1 where there is an error, else 0, whatever the warnings."""


def add_to(roles: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the subcommand."""
    doctor = roles.add_parser(
        "doctor",
        help="what is wrong on this host, and how to put it right",
        description=_DESCRIPTION,
    )
    doctor.set_defaults(start=_start, verbose=False, metrics=None)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--output",
        choices=("text", "json"),
        default="text",
        help="for people, or for programs (default: %(default)s)",
    )
    common.add_argument(
        "--state-dir",
        type=Path,
        default=Path("/var/lib/csi-lvm-iscsi"),
        metavar="DIR",
        help="as the role has it (default: %(default)s)",
    )
    kinds = doctor.add_subparsers(dest="kind", required=True, metavar="KIND")
    storage = kinds.add_parser(
        "storage", parents=[common], help="a storage host", description=_DESCRIPTION
    )
    storage.add_argument(
        "--volume-group",
        action="append",
        default=[],
        metavar="VG",
        help="look at this one (default: those with volumes of the driver; where there are none, "
        "those with a thin pool)",
    )
    node = kinds.add_parser("node", parents=[common], help="a node", description=_DESCRIPTION)
    node.add_argument(
        "--node-id", metavar="NAME", help="see that the initiator name is this node's"
    )
    node.add_argument(
        "--portal",
        action="append",
        default=[],
        metavar="ADDRESS:PORT",
        help="see that this one is reached, beside those of the volumes that are staged here",
    )


async def _start(arguments: argparse.Namespace, _: CollectorRegistry) -> None:
    from csi_lvm_iscsi.diagnosis import report

    diagnose = {"storage": _storage, "node": _node}[arguments.kind]
    facts, findings = await diagnose(arguments)
    if arguments.output == "json":
        sys.stdout.write(report.as_json(arguments.kind, facts, findings) + "\n")
    else:
        sys.stdout.write(report.as_text(findings) + "\n")
    if any(finding.level is Level.ERROR for finding in findings):
        sys.exit(1)


async def _storage(arguments: argparse.Namespace) -> tuple[dict[str, str], list[Finding]]:
    from csi_lvm_iscsi.commands.runner import ProcessRunner
    from csi_lvm_iscsi.diagnosis.host import Host
    from csi_lvm_iscsi.storage.doctor import diagnose, facts, management_of

    host = Host(ProcessRunner())
    management = management_of(host)
    findings = await diagnose(host, management, arguments.volume_group, arguments.state_dir)
    return facts(host), findings


async def _node(arguments: argparse.Namespace) -> tuple[dict[str, str], list[Finding]]:
    from csi_lvm_iscsi.commands.runner import ProcessRunner
    from csi_lvm_iscsi.diagnosis.host import Host
    from csi_lvm_iscsi.node.doctor import diagnose, facts

    host = Host(ProcessRunner())
    findings = await diagnose(host, arguments.node_id, arguments.portal, arguments.state_dir)
    return facts(host), findings
