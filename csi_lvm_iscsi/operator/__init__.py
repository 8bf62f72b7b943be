"""Keeps the StorageNodes, which are the storage hosts and what they tell of themselves, and the
VolumeHotplugs, which are claims that are attached to virtual machines.

This is the subcommand; it imports its modules when it runs.
"""

import argparse
from pathlib import Path

from prometheus_client import CollectorRegistry


def add_to(
    roles: "argparse._SubParsersAction[argparse.ArgumentParser]", common: argparse.ArgumentParser
) -> None:
    """Add the subcommand."""
    parser = roles.add_parser(
        "operator", parents=[common], help="keeps StorageNodes and VolumeHotplugs"
    )
    parser.set_defaults(start=_start)
    parser.add_argument(
        "--namespace", required=True, help="of the storage pods, and of the operator's Lease"
    )
    add_cluster(parser)
    parser.add_argument(
        "--tls-dir",
        required=True,
        type=Path,
        metavar="DIR",
        help="ca.crt, tls.crt and tls.key of a client certificate",
    )
    parser.add_argument(
        "--virtual-machines",
        action="store_true",
        help="keep VolumeHotplugs, too: edit the virtual machines of KubeVirt",
    )


def add_cluster(role: argparse.ArgumentParser) -> None:
    """Add what the controller is told of the cluster, too."""
    role.add_argument(
        "--storage-service",
        default="csi-lvm-iscsi-storage",
        metavar="NAME",
        help="in a cluster: the headless Service of the storage pods (default: %(default)s)",
    )
    role.add_argument(
        "--zones",
        action="store_true",
        help="in a cluster: its storage hosts are in zones, those of their Kubernetes nodes",
    )


async def _start(arguments: argparse.Namespace, registry: CollectorRegistry) -> None:
    from csi_lvm_iscsi.operator.service import Settings, serve

    settings = Settings(
        namespace=arguments.namespace,
        storage_service=arguments.storage_service,
        tls_directory=arguments.tls_dir,
        zones=arguments.zones,
        virtual_machines=arguments.virtual_machines,
    )
    await serve(settings, registry)
