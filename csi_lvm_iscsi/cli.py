"""The command `csi-lvm-iscsi`: one subcommand per role. The only place that wires things together.

A role's modules are imported when it starts, so that none carries the others' memory.
"""

import argparse
import asyncio
import ipaddress
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry, start_http_server

from csi_lvm_iscsi.model.errors import DriverError
from csi_lvm_iscsi.rpc import logs

_KEY_BYTES = 16


class KeyDirectory(Mapping[str, bytes]):
    """The CHAP keys: a directory with a file per key, named by its id, as a mounted Kubernetes
    secret is. Read at each use, so that rotation needs no restart."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __getitem__(self, key_id: str) -> bytes:
        try:
            key = (self._path / key_id).read_bytes().strip()
        except OSError as error:
            raise KeyError(key_id) from error
        if len(key) < _KEY_BYTES:
            raise DriverError(
                f"CHAP key {self._path / key_id} is shorter than {_KEY_BYTES} bytes: passwords "
                "made with it could be guessed. Replace it (`openssl rand -hex 32`)."
            )
        return key

    def __iter__(self) -> Iterator[str]:
        """Key ids are of letters and digits: an editor's backup is no key."""
        return iter(sorted(path.name for path in self._path.glob("*") if path.name.isalnum()))

    def __len__(self) -> int:
        return len(list(iter(self)))


def main() -> None:
    """Run the command; exits with 1 and a sentence where a role cannot start or go on."""
    arguments = _parser().parse_args()
    logs.configure(verbose=arguments.verbose)
    registry = CollectorRegistry()
    if arguments.metrics:
        host, _, port = arguments.metrics.rpartition(":")
        start_http_server(int(port), host or "0.0.0.0", registry)  # noqa: S104
    try:
        asyncio.run(arguments.start(arguments, registry))
    except DriverError as error:
        sys.exit(f"csi-lvm-iscsi {arguments.role}: {error}")


async def _controller(arguments: argparse.Namespace, registry: CollectorRegistry) -> None:
    from csi_lvm_iscsi.controller.service import serve
    from csi_lvm_iscsi.storage_client.inventory import Inventory

    await serve(arguments.endpoint, Inventory(arguments.inventory, arguments.tls_dir), registry)


async def _storage(arguments: argparse.Namespace, registry: CollectorRegistry) -> None:
    from csi_lvm_iscsi.commands.runner import ProcessRunner
    from csi_lvm_iscsi.storage import instance
    from csi_lvm_iscsi.storage.portals import Portals
    from csi_lvm_iscsi.storage.service import Settings, serve

    lock = await instance.hold(arguments.state_dir)
    settings = Settings(
        host=arguments.node_id,
        listen=arguments.listen,
        tls_directory=arguments.tls_dir,
        keys=KeyDirectory(arguments.chap_keys),
        state_directory=arguments.state_dir,
        portals=Portals(arguments.portal_network),
        thin_pool=arguments.thin_pool,
    )
    await serve(settings, ProcessRunner(inherit=(lock,)), registry)


async def _node(arguments: argparse.Namespace, registry: CollectorRegistry) -> None:
    from csi_lvm_iscsi.commands.runner import ProcessRunner
    from csi_lvm_iscsi.node.service import Settings, serve

    settings = Settings(
        endpoint=arguments.endpoint,
        node_id=arguments.node_id,
        keys=KeyDirectory(arguments.chap_keys),
        state_directory=arguments.state_dir,
    )
    await serve(settings, ProcessRunner(), registry)


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--verbose", action="store_true", help="log each command that is run")
    common.add_argument(
        "--metrics", metavar="[HOST]:PORT", help="serve Prometheus metrics there (default: not)"
    )
    parser = argparse.ArgumentParser(
        prog="csi-lvm-iscsi", description="A CSI driver for LVM volumes over iSCSI."
    )
    roles = parser.add_subparsers(dest="role", required=True, metavar="ROLE")

    controller = roles.add_parser(
        "controller", parents=[common], help="CSI Identity and Controller; picks the storage host"
    )
    controller.set_defaults(start=_controller)
    controller.add_argument(
        "--endpoint", required=True, metavar="unix:///PATH", help="where to serve CSI"
    )
    controller.add_argument(
        "--inventory",
        required=True,
        type=Path,
        metavar="FILE",
        help="JSON list of the storage hosts, their volume groups, and the nodes",
    )
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
        "--listen", required=True, metavar="ADDRESS:PORT", help="where to serve the controller"
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
        required=True,
        type=_thin_pool,
        metavar="VG/POOL",
        help="the thin pool that volumes are in",
    )

    node = roles.add_parser("node", parents=[common], help="CSI Identity and Node of this host")
    node.set_defaults(start=_node)
    node.add_argument(
        "--endpoint", required=True, metavar="unix:///PATH", help="where to serve CSI"
    )
    node.add_argument("--node-id", required=True, metavar="NAME", help="name of this host")
    _add_keys_and_state(node)
    return parser


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}; write it like 10.77.0.0/24") from None


def _thin_pool(text: str) -> str:
    if text.count("/") != 1 or text.startswith("/") or text.endswith("/"):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form VG/POOL")
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
