"""The command `csi-lvm-iscsi bootstrap`: a cluster's certificates and CHAP keys, made in it."""

import argparse

from prometheus_client import CollectorRegistry

_DESCRIPTION = """\
Makes the Secrets of the driver that are missing: its certificate authority, the certificates of the
storage hosts and of their clients, and the CHAP keys. Renews certificates when two thirds of their
life are over. To be run again and again, by a CronJob; what is in order stays as it is."""


def add_to(
    roles: "argparse._SubParsersAction[argparse.ArgumentParser]", common: argparse.ArgumentParser
) -> None:
    """Add the subcommand."""
    bootstrap = roles.add_parser(
        "bootstrap",
        parents=[common],
        help="make the Secrets of the driver in its namespace, and renew certificates",
        description=_DESCRIPTION,
    )
    bootstrap.set_defaults(start=_start)
    bootstrap.add_argument(
        "--namespace", required=True, metavar="NAMESPACE", help="where the Secrets are"
    )
    bootstrap.add_argument(
        "--last-chap-key",
        metavar="KEY",
        default="",
        help="add the CHAP key of this name, which follows the last (k2 after k1), for new "
        "publications, and drop those older than the last; where it is there, do nothing",
    )


async def _start(arguments: argparse.Namespace, _: CollectorRegistry) -> None:
    from csi_lvm_iscsi.bootstrap import flow, store

    secrets = store.Secrets(store.connect(), arguments.namespace)
    flow.ensure_all(secrets, last_chap_key=arguments.last_chap_key)
