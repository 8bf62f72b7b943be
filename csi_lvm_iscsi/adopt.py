"""The command `csi-lvm-iscsi adopt`: an LV that others made becomes a volume, in place."""

import argparse
import json
import sys
from pathlib import Path

from prometheus_client import CollectorRegistry


def add_to(
    roles: "argparse._SubParsersAction[argparse.ArgumentParser]", common: argparse.ArgumentParser
) -> None:
    """Add the subcommand."""
    adopt = roles.add_parser(
        "adopt",
        parents=[common],
        help="make a logical volume of this storage host a volume; prints its PersistentVolume",
    )
    adopt.set_defaults(start=_start)
    adopt.add_argument("logical_volume", type=full_name, metavar="VG/LV")
    adopt.add_argument("--name", default="", help="of the volume (default: LV)")
    adopt.add_argument("--storage-class", default="", metavar="NAME", help="for the claim")
    adopt.add_argument(
        "--block", action="store_true", help="a raw block volume, though it has a file system"
    )


def full_name(text: str) -> str:
    """An argument of the form VG/NAME."""
    if text.count("/") != 1 or text.startswith("/") or text.endswith("/"):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form VG/NAME")
    return text


async def _start(arguments: argparse.Namespace, _: CollectorRegistry) -> None:
    from csi_lvm_iscsi.commands.runner import ProcessRunner
    from csi_lvm_iscsi.storage.adoption import Adoption, manifest
    from csi_lvm_iscsi.storage.catalog import Catalog
    from csi_lvm_iscsi.storage.devices import Devices
    from csi_lvm_iscsi.storage.lvm import Lvm

    runner, root = ProcessRunner(), Path("/")
    volume_group, _, logical_volume = arguments.logical_volume.partition("/")
    catalog = Catalog("this host", [Lvm(runner, volume_group)])
    await catalog.refresh()
    adoption = Adoption(runner, catalog, Devices(catalog, root), root)
    adopted = await adoption.adopt(volume_group, logical_volume, arguments.name)
    block = arguments.block or not adopted.file_system
    made = manifest(adopted, storage_class=arguments.storage_class, block=block)
    sys.stdout.write(json.dumps(made, indent=2) + "\n")
