"""The command `csi-lvm-iscsi`: one subcommand per role. The only place that wires things together.

A role's modules are imported when it starts, so that none carries the others' memory.
"""

import argparse
import asyncio
import contextlib
import ipaddress
import os
import signal
import sys
import threading
from pathlib import Path

from prometheus_client import CollectorRegistry

from csi_lvm_iscsi import __version__, adopt, bootstrap, doctor, operator
from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.model.errors import DriverError
from csi_lvm_iscsi.records.keys import KeyDirectory
from csi_lvm_iscsi.rpc import http, logs

_THREADS_SECONDS = 5.0


def main() -> None:
    """Run the command; exits with 1 and a sentence where a role cannot start or go on."""
    arguments = _parser().parse_args()
    logs.configure(verbose=arguments.verbose)
    try:
        asyncio.run(_run(arguments))
    except DriverError as error:
        sys.exit(f"csi-lvm-iscsi {arguments.role}: {error}")
    except asyncio.CancelledError:
        sys.exit(f"csi-lvm-iscsi {arguments.role}: told to end before it was ready")


async def _run(arguments: argparse.Namespace) -> None:
    """Run the role, with its metrics and health served."""
    starting = asyncio.current_task()
    if starting is None:
        raise AssertionError
    # Until the role serves (rpc/server.py). Process 1, as in a container, ignores signals that it
    # has no handler for (signal(7)).
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, starting.cancel)
    registry = CollectorRegistry()
    with contextlib.ExitStack() as stack:
        if arguments.metrics:
            host, port = arguments.metrics
            stack.enter_context(http.serving(host, port, registry))
        stack.callback(_end_soon)
        await arguments.start(arguments, registry)


def _end_soon() -> None:
    """End this process in a moment, if it does not by itself: Python waits for its threads, and one
    may be in the kernel with a disk that hangs. Every verb goes on from wherever it was left."""

    def give_up() -> None:
        sys.stderr.write("csi-lvm-iscsi: a thread hangs: ended all the same\n")
        os._exit(1)

    timer = threading.Timer(_THREADS_SECONDS, give_up)
    timer.daemon = True
    timer.start()


async def _controller(arguments: argparse.Namespace, registry: CollectorRegistry) -> None:
    from csi_lvm_iscsi.controller.service import serve

    if arguments.inventory:
        from csi_lvm_iscsi.storage_client.inventory import Inventory

        inventory = Inventory(arguments.inventory, arguments.tls_dir)
        await serve(arguments.endpoint, inventory, registry)
        return
    from csi_lvm_iscsi.rpc.tls import ClientCredentials
    from csi_lvm_iscsi.storage_client.api_server import connect
    from csi_lvm_iscsi.storage_client.cluster import Cluster, ClusterMembership

    credentials = ClientCredentials(arguments.tls_dir)
    api = await connect()
    cluster = Cluster(api, arguments.cluster_namespace, arguments.storage_service)
    try:
        membership = ClusterMembership(cluster, credentials, zones=arguments.zones)
        await serve(arguments.endpoint, membership, registry)
    finally:
        await api.close()


async def _storage(arguments: argparse.Namespace, registry: CollectorRegistry) -> None:
    from csi_lvm_iscsi.commands.measured import MeasuredRunner
    from csi_lvm_iscsi.commands.runner import ProcessRunner
    from csi_lvm_iscsi.storage import instance
    from csi_lvm_iscsi.storage.pools import Limits, Place
    from csi_lvm_iscsi.storage.portals import Portals
    from csi_lvm_iscsi.storage.service import serve
    from csi_lvm_iscsi.storage.wiring import Settings

    places = [*arguments.thin_pool, *arguments.thick]
    if not places:
        raise DriverError("It is told of no place for volumes: give --thin-pool or --thick.")
    lock = await instance.hold(arguments.state_dir)
    settings = Settings(
        host=arguments.node_id,
        listen=arguments.listen,
        tls_directory=arguments.tls_dir,
        keys=KeyDirectory(arguments.chap_keys),
        state_directory=arguments.state_dir,
        portals=Portals(arguments.portal_network),
        places=tuple(map(Place.parse, places)),
        limits=Limits(
            over_provision=arguments.over_provision,
            stop_at=arguments.stop_at,
            extend_at=arguments.extend_at,
            extend_by=arguments.extend_by,
        ),
    )
    runner = MeasuredRunner(ProcessRunner(instance.mark(lock)), registry)
    await serve(settings, runner, registry)


async def _node(arguments: argparse.Namespace, registry: CollectorRegistry) -> None:
    from csi_lvm_iscsi.commands.measured import MeasuredRunner
    from csi_lvm_iscsi.commands.runner import ProcessRunner
    from csi_lvm_iscsi.node.service import Settings, serve

    settings = Settings(
        endpoint=arguments.endpoint,
        node_id=arguments.node_id,
        keys=KeyDirectory(arguments.chap_keys),
        state_directory=arguments.state_dir,
        zone=arguments.zone,
        registration_directory=arguments.registration_dir,
    )
    await serve(settings, MeasuredRunner(ProcessRunner(), registry), registry)


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--verbose", action="store_true", help="log each command that is run")
    common.add_argument(
        "--metrics",
        type=_host_port,
        metavar="[HOST]:PORT",
        help="serve /metrics for Prometheus and /healthz there (default: not)",
    )
    parser = argparse.ArgumentParser(
        prog="csi-lvm-iscsi", description="A CSI driver for LVM volumes over iSCSI."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    roles = parser.add_subparsers(dest="role", required=True, metavar="ROLE")

    controller = roles.add_parser(
        "controller", parents=[common], help="CSI Identity and Controller; picks the storage host"
    )
    controller.set_defaults(start=_controller)
    controller.add_argument(
        "--endpoint", required=True, metavar="unix:///PATH", help="where to serve CSI"
    )
    source = controller.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--inventory",
        type=Path,
        metavar="FILE",
        help="JSON list of the storage hosts, their volume groups, and the nodes",
    )
    source.add_argument(
        "--cluster-namespace",
        metavar="NAMESPACE",
        help="read the storage hosts from the StorageNodes of the cluster that this runs in;"
        " the storage pods are in this namespace",
    )
    operator.add_cluster(controller)
    controller.add_argument(
        "--tls-dir",
        required=True,
        type=Path,
        metavar="DIR",
        help="ca.crt, tls.crt and tls.key of a client certificate",
    )

    storage = roles.add_parser(
        "storage", parents=[common], help="volumes and exports of this storage host"
    )
    storage.set_defaults(start=_storage)
    storage.add_argument("--node-id", required=True, metavar="NAME", help="name of this host")
    storage.add_argument(
        "--listen",
        required=True,
        type=_listen_address,
        metavar="ADDRESS:PORT",
        help="where to serve the controller",
    )
    storage.add_argument(
        "--tls-dir",
        required=True,
        type=Path,
        metavar="DIR",
        help="ca.crt, tls.crt and tls.key of a server certificate",
    )
    _add_keys_and_state(storage)
    storage.add_argument(
        "--portal-network",
        required=True,
        action="append",
        type=_network,
        metavar="CIDR",
        help="tgtd serves iSCSI at the host's addresses within, port 3260; several make multipath",
    )
    storage.add_argument(
        "--thin-pool",
        action="append",
        default=[],
        type=adopt.full_name,
        metavar="VG/POOL",
        help="a thin pool for volumes; can be given again",
    )
    storage.add_argument(
        "--thick",
        action="append",
        default=[],
        metavar="VG",
        help="a volume group for thick volumes; can be given again",
    )
    storage.add_argument(
        "--over-provision",
        type=float,
        default=10.0,
        metavar="RATIO",
        help="promise so many times a thin pool's size to volumes (default: %(default)s)",
    )
    storage.add_argument(
        "--stop-at",
        type=_percent,
        default=90.0,
        metavar="PERCENT",
        help="make nothing in a thin pool that is so full, of data or metadata"
        " (default: %(default)s)",
    )
    storage.add_argument(
        "--extend-at",
        type=_percent,
        default=70.0,
        metavar="PERCENT",
        help="extend a thin pool that is so full, while its volume group has free extents;"
        " 100: never (default: %(default)s)",
    )
    storage.add_argument(
        "--extend-by",
        type=_percent,
        default=20.0,
        metavar="PERCENT",
        help="extend it by so much of its size (default: %(default)s)",
    )

    node = roles.add_parser("node", parents=[common], help="CSI Identity and Node of this host")
    node.set_defaults(start=_node)
    node.add_argument(
        "--endpoint", required=True, metavar="unix:///PATH", help="where to serve CSI"
    )
    node.add_argument("--node-id", required=True, metavar="NAME", help="name of this host")
    node.add_argument(
        "--zone", default="", type=_zone, metavar="ZONE", help="of this host, if there are zones"
    )
    node.add_argument(
        "--registration-dir",
        type=Path,
        metavar="DIR",
        help="register with kubelet there: its plugins_registry (default: not)",
    )
    _add_keys_and_state(node)

    adopt.add_to(roles, common)
    bootstrap.add_to(roles, common)
    operator.add_to(roles, common)
    doctor.add_to(roles)
    return parser


def _host_port(text: str) -> tuple[str, int]:
    """An address, which may be an IPv6 one without brackets, and the port behind it."""
    host, _, port = text.rpartition(":")
    if not port.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} has no port: write it like 10.77.0.11:9740")
    return host.strip("[]"), int(port)


def _listen_address(text: str) -> str:
    """As gRPC takes it: an IPv6 address in brackets."""
    host, port = _host_port(text)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _percent(text: str) -> float:
    percent = float(text)
    if not 0 < percent <= 100:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and up to 100")
    return percent


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}; write it like 10.77.0.0/24") from None


def _zone(text: str) -> str:
    if text and not names.is_zone(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no value of a Kubernetes label")
    return text


def _add_keys_and_state(role: argparse.ArgumentParser) -> None:
    role.add_argument(
        "--chap-keys",
        required=True,
        type=Path,
        metavar="DIR",
        help="a file per CHAP key, named by its id; the last by name is used for new logins",
    )
    role.add_argument(
        "--state-dir",
        type=Path,
        default=Path("/var/lib/csi-lvm-iscsi"),
        metavar="DIR",
        help="durable records (default: %(default)s)",
    )
