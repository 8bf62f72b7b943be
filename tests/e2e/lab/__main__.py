"""The lab's command line: `python -m tests.e2e.lab [--dir DIR] COMMAND`."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, get_args

from tests.e2e.lab.errors import HostGone, LabError
from tests.e2e.lab.host import Host
from tests.e2e.lab.lab import Lab, default_directory
from tests.e2e.lab.remote import shell_status
from tests.e2e.lab.topology import DataNetwork

if TYPE_CHECKING:
    from tests.e2e.lab.kubernetes.cluster import Cluster


def up(lab: Lab, options: argparse.Namespace) -> int:
    if options.content == "kubevirt":
        _kubevirt_cluster(lab).up_cluster(options.storage, options.compute, report=_say)
    elif options.content == "kubelet":
        _cluster(lab).up_cluster(options.storage, options.compute, report=_say)
    else:
        lab.up(options.storage, options.compute, content=options.content, report=_say)
    return 0


def down(lab: Lab, _: argparse.Namespace) -> int:
    lab.down(_say)
    return 0


def status(lab: Lab, _: argparse.Namespace) -> int:
    header = ("HOST", "STATE", "ADDRESS", "PID", "MEMORY", "UP")
    rows = [header, *(_status_row(host) for host in lab.hosts.values())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
    return 0


def _status_row(host: Host) -> tuple[str, str, str, str, str, str]:
    address = host.identity.data_address
    pid = host.pid
    if pid is None:
        return host.name, "off", address, "-", "-", "-"
    state = "partitioned" if host.partitioned else "running"
    try:
        states = host.service_states()
        ready = " ".join(name for name, service in states.items() if service.ready)
    except HostGone:
        state, ready = "booting", "-"
    return host.name, state, address, str(pid), f"{host.memory_kib // 1024} MiB", ready


def run_command(lab: Lab, options: argparse.Namespace) -> int:
    command = lab.host(options.host).start(
        *options.argv, stdin=_stdin(), stdout=_writer(1), stderr=_writer(2)
    )
    return shell_status(command.wait().status)


def _stdin() -> BinaryIO | None:
    """Standard input, if it is open and no terminal.

    Unbuffered: a thread that still waits in a buffered read would hold up the end of Python.
    """
    if sys.stdin is None or sys.stdin.isatty():
        return None
    return open(0, "rb", buffering=0, closefd=False)


def _writer(descriptor: int) -> Callable[[bytes], object]:
    stream = open(descriptor, "wb", closefd=False)  # noqa: SIM115 - ours to the end

    def write(data: bytes) -> None:
        stream.write(data)
        stream.flush()

    return write


def call_csi(lab: Lab, options: argparse.Namespace) -> int:
    from tests.e2e.lab import csi  # noqa: PLC0415 - gRPC takes a while, and only this needs it

    host = lab.host(options.host)
    address = host.csi_address("controller" if host.identity.kind == "storage" else "node")
    lab.enter_network()
    try:
        print(csi.call(address, options.method, options.request))
    except csi.CallFailed as failure:
        print(failure)
        return 1
    return 0


def run_kubectl(lab: Lab, options: argparse.Namespace) -> int:
    command = _cluster(lab).command("kubectl", *options.argv)
    return subprocess.run(command, check=False).returncode


def _cluster(lab: Lab) -> Cluster:
    from tests.e2e.lab.kubernetes.cluster import Cluster  # noqa: PLC0415 - few want one

    return Cluster(lab.directory)


def _kubevirt_cluster(lab: Lab) -> Cluster:
    from tests.e2e.lab.kubevirt.cluster import KubeVirtCluster  # noqa: PLC0415 - few want one

    return KubeVirtCluster(lab.directory)


def cut(lab: Lab, options: argparse.Namespace) -> int:
    lab.host(options.host).cut()
    return 0


def boot(lab: Lab, options: argparse.Namespace) -> int:
    lab.host(options.host).boot()
    return 0


def partition(lab: Lab, options: argparse.Namespace) -> int:
    lab.host(options.host).partition(options.network)
    return 0


def heal(lab: Lab, options: argparse.Namespace) -> int:
    lab.host(options.host).heal(options.network)
    return 0


def logs(lab: Lab, options: argparse.Namespace) -> int:
    lab.host(options.host).log(options.role)  # says which logs there are, if not this one
    with lab.host(options.host).log_path(options.role).open("rb") as log:
        shutil.copyfileobj(log, sys.stdout.buffer)
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.lab", description=__doc__)
    parser.add_argument(
        "--dir",
        type=Path,
        default=default_directory(),
        metavar="DIR",
        help="where the lab's state is ($LAB_DIR; now %(default)s)",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(
        name: str, action: Callable[[Lab, argparse.Namespace], int], summary: str
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=summary, description=summary)
        added.set_defaults(action=action)
        return added

    def host_command(
        name: str, action: Callable[[Lab, argparse.Namespace], int], summary: str
    ) -> argparse.ArgumentParser:
        added = command(name, action, summary)
        added.add_argument("host", metavar="HOST", help="storage-N or compute-N")
        return added

    added = command("up", up, "make and boot a lab, and wait until it is ready")
    added.add_argument("--storage", type=int, default=1, metavar="N", help="storage hosts (1)")
    added.add_argument("--compute", type=int, default=2, metavar="N", help="compute hosts (2)")
    contents = added.add_mutually_exclusive_group()
    for option, content, summary in (
        ("--bare", "bare", "without the driver's roles"),
        ("--contained", "contained", "roles and tgtd in containers"),
        ("--kubernetes", "kubelet", "as nodes of a Kubernetes cluster that has the driver"),
        ("--kubevirt", "kubevirt", "the same, and KubeVirt, whose virtual machines they can run"),
    ):
        contents.add_argument(
            option, dest="content", action="store_const", const=content, help=summary
        )
    added.set_defaults(content="roles")
    command("status", status, "show the hosts and what is up in them")
    added = host_command("exec", run_command, "run a command in a host, without a shell")
    added.add_argument("argv", nargs="+", metavar="COMMAND", help="after --")
    added = host_command("csi", call_csi, "call the CSI socket of storage-1 or of a compute host")
    added.add_argument("method", metavar="METHOD", help="such as CreateVolume")
    added.add_argument("request", metavar="JSON", nargs="?", default="{}", help="the request")
    added = command("kubectl", run_kubectl, "run kubectl as the administrator of the lab's cluster")
    added.add_argument("argv", nargs="*", metavar="ARGUMENT", help="of kubectl")
    host_command("cut", cut, "cut a host's power")
    host_command("boot", boot, "start a host that is off, and wait until it is ready")
    for name, action, summary in (
        ("partition", partition, "take a host off a data network"),
        ("heal", heal, "end a partition"),
    ):
        added = host_command(name, action, summary)
        added.add_argument(
            "network",
            metavar="NETWORK",
            nargs="?",
            choices=get_args(DataNetwork),
            default="data",
            help="data (the default) or data2",
        )
    added = host_command("logs", logs, "show a log")
    added.add_argument(
        "role",
        metavar="ROLE",
        nargs="?",
        default="console",
        help="a service's name; without it, the console",
    )
    command("down", down, "stop the hosts and remove all that the lab made")
    return parser


def main() -> int:
    """Run one command; its exit status."""
    options = _parser().parse_args(_arguments())
    try:
        return int(options.action(Lab(options.dir), options))
    except LabError as error:
        _say(f"lab: {error}")
        return 1
    except KeyboardInterrupt:
        return 130


def _arguments() -> list[str]:
    """Ours, with a mark before those that are kubectl's, which argparse would take for ours."""
    ours = sys.argv[1:]
    if "kubectl" in ours:
        ours.insert(ours.index("kubectl") + 1, "--")
    return ours


if __name__ == "__main__":
    sys.exit(main())
