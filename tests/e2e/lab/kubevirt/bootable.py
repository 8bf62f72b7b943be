"""The image of which KubeVirt's virtual machines boot: the lab's guest, as two files."""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path

from tests.e2e.guest import image as guest
from tests.e2e.lab.kubernetes import archive
from tests.e2e.lab.kubernetes.archive import File
from tests.e2e.lab.kubernetes.images import DIRECTORY
from tests.e2e.lab.kubevirt import base

NAME = "localhost/kubevirt/guest:1"
KERNEL, INITIAL_RAM_DISK = "boot/vmlinuz", "boot/initrd"
"""Where the image has them."""

CHECKSUM_LIMIT = 2**31


def ensure() -> Path:
    """The image's archive, made if it is not there."""
    digest = hashlib.sha256(Path(guest.__file__).read_bytes() + guest.INIT.read_bytes())
    digest.update(Path(__file__).read_bytes() + guest.kernel().name.encode())
    place = DIRECTORY / f"guest-{digest.hexdigest()[:12]}.tar"
    if not place.exists():
        layer = place.with_suffix(".layer")
        contents = {
            KERNEL: guest.kernel().read_bytes(),
            INITIAL_RAM_DISK: guest.initial_ram_disk(),
        }
        files = {
            path: File(padded(content), 0o644, base.QEMU) for path, content in contents.items()
        }
        archive.write_layer(layer, files)
        unfinished = place.with_suffix(".unfinished")
        archive.write(unfinished, archive.Image(NAME, [layer], ["/none"], str(base.QEMU)))
        layer.unlink()
        unfinished.rename(place)
    return place


def padded(content: bytes) -> bytes:
    """A kernel or initial RAM disk with as many zeros behind it as give it a small checksum.

    KubeVirt 1.6 writes their CRC-32 into the instance's status, where its own definition has room
    for 31 bits. With a larger one the API server refuses each status, and the instance stays
    Scheduled for ever: `status.kernelBootStatus.initrdInfo.checksum`.
    """
    zeros = bytes(4)
    checksum, padding = zlib.crc32(content), b""
    while checksum >= CHECKSUM_LIMIT:
        checksum, padding = zlib.crc32(zeros, checksum), padding + zeros
    return content + padding
