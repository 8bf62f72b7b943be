"""Images written by hand: what is in them, and that layers are shared."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tarfile
from pathlib import Path
from zlib import crc32

import pytest

from tests.e2e.lab.kubernetes import archive
from tests.e2e.lab.kubevirt.bootable import SECTOR, padded
from tests.e2e.lab.kubevirt.images import MAY_BIND


@pytest.fixture
def layer(tmp_path: Path) -> Path:
    program = tmp_path / "program"
    program.write_bytes(b"#!/bin/sh\n")
    layer = tmp_path / "layer.tar"
    files: archive.Files = {
        "usr/bin/program": program,
        "usr/bin/alias": "program",
        "etc/settings": archive.File(b"a = 1\n", 0o644, owner=107),
        "usr/bin/monitor": archive.File(program, capabilities=MAY_BIND),
    }
    archive.write_layer(layer, files)
    return layer


def test_a_layer_has_files_links_owners_and_modes(layer: Path) -> None:
    with tarfile.open(layer) as tar:
        members = {entry.name: entry for entry in tar}
    assert members["usr/bin/program"].mode == 0o755
    assert members["usr/bin/alias"].linkname == "program"
    assert (members["etc/settings"].mode, members["etc/settings"].uid) == (0o644, 107)
    assert members["usr/bin"].isdir()


def test_images_share_a_layer(tmp_path: Path, layer: Path) -> None:
    place = tmp_path / "images.tar"
    upper = tmp_path / "upper.tar"
    archive.write_layer(upper, {"bin/more": archive.File(b"more")})
    archive.write(
        place,
        archive.Image("registry/one:1", [layer], ["/usr/bin/program"]),
        archive.Image("registry/two:1", [layer, upper], ["/bin/more"], "", "/usr/bin:/bin"),
    )
    with tarfile.open(place) as tar:
        names = tar.getnames()
        listed = json.load(tar.extractfile("manifest.json") or pytest.fail("no manifest"))
        configurations = [
            json.load(tar.extractfile(each["Config"]) or pytest.fail("none")) for each in listed
        ]
    shared = hashlib.sha256(layer.read_bytes()).hexdigest()
    assert [each["RepoTags"] for each in listed] == [["registry/one:1"], ["registry/two:1"]]
    assert [each["Layers"][0] for each in listed] == [f"{shared}.tar"] * 2
    assert names.count(f"{shared}.tar") == 1
    assert configurations[0]["config"]["User"] == archive.NOBODY
    assert configurations[1]["config"]["Env"] == ["PATH=/usr/bin:/bin"]
    assert configurations[1]["rootfs"]["diff_ids"][0] == f"sha256:{shared}"


@pytest.mark.skipif(os.geteuid() != 0, reason="file capabilities are root's to give")
def test_a_capability_is_what_setcap_writes(tmp_path: Path, layer: Path) -> None:
    unpack = ("tar", "--xattrs", "--xattrs-include=*", "-C", str(tmp_path), "-xf", str(layer))
    subprocess.run(unpack, check=True)
    written = os.getxattr(tmp_path / "usr/bin/monitor", "security.capability")
    assert written == MAY_BIND


def test_what_kubevirt_boots_has_a_checksum_that_it_has_room_for() -> None:
    large = next(text for text in map(str.encode, map(str, range(99))) if crc32(text) >= 2**31)
    assert crc32(padded(large)) < 2**31
    assert padded(large).rstrip(b"\0") == large
    assert padded(padded(large)) == padded(large)
    assert (len(padded(large)) - len(large)) % SECTOR == 0
