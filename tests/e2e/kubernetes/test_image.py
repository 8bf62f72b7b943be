"""The driver's image: what is in it, and what is not."""

from __future__ import annotations

import tarfile
from pathlib import PurePosixPath

import pytest

from csi_lvm_iscsi import __version__
from tests.e2e.lab.kubernetes import images, product
from tests.e2e.lab.kubernetes.archive import read_json

BUILD_TOOLS = {"as", "c++", "cc", "cpp", "g++", "gcc", "git", "go", "ld", "make", "pip", "pip3"}
PROGRAMS = {"bin", "sbin"}
LIMIT_BYTES = 400 * 2**20
"""Half of it is the base and Python, a third the package kubernetes."""


@pytest.mark.usefixtures("cluster")
def test_it_is_small_and_labelled_and_has_no_build_tools() -> None:
    """One image for all roles and tgtd, without what it was built with."""
    programs: set[str] = set()
    size = 0
    with tarfile.open(product.ensure(images.DIRECTORY, images.PRODUCT, print)) as archive:
        (manifest,) = read_json(archive, "manifest.json")
        labels = read_json(archive, manifest["Config"])["config"]["Labels"]
        for layer in manifest["Layers"]:
            with tarfile.open(fileobj=archive.extractfile(layer)) as files:
                members = files.getmembers()
            size += sum(member.size for member in members)
            paths = (PurePosixPath(member.name) for member in members)
            programs |= {path.name for path in paths if path.parent.name in PROGRAMS}
    print(f"\nthe image: {size / 2**20:.0f} MiB unpacked")
    assert programs >= {"csi-lvm-iscsi", "tgtd", "tgtadm", "mkfs.ext4", "mkfs.xfs"}
    assert not programs & BUILD_TOOLS
    assert size < LIMIT_BYTES
    prefix = "org.opencontainers.image."
    assert labels[f"{prefix}title"] == "csi-lvm-iscsi"
    assert labels[f"{prefix}version"] == __version__
    named = ("description", "licenses", "source", "documentation", "revision")
    assert all(labels[f"{prefix}{each}"] for each in named), labels
