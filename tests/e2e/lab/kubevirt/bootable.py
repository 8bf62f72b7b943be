"""The image of which KubeVirt's virtual machines boot: the lab's guest on a compact disc.

A disc, as the guest's init takes each disk for one that was plugged in. KubeVirt boots a kernel
from an image, too (`firmware.kernelBoot`), but 1.6 cannot start such a machine again with
hot-plugged volumes: it makes a directory a second time and takes that for an error
(pkg/virt-handler/container-disk/mount.go, os.IsExist of a wrapped error).
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import zlib
from pathlib import Path

from tests.e2e.guest import image as guest
from tests.e2e.lab.kubernetes import archive
from tests.e2e.lab.kubernetes.archive import File
from tests.e2e.lab.kubernetes.images import DIRECTORY
from tests.e2e.lab.kubernetes.product import run
from tests.e2e.lab.kubevirt import base

NAME = "localhost/kubevirt/guest:1"
DISC = "disk/guest.iso"
"""Where KubeVirt looks for an image's one disk."""

SECTOR = 2048
CHECKSUM_LIMIT = 2**31

BOOT_LOADER = Path("/usr/lib/ISOLINUX/isolinux.bin")
BOOT_LOADERS_LIBRARY = Path("/usr/lib/syslinux/modules/bios/ldlinux.c32")
MENU = """\
default guest
label guest
  kernel /vmlinuz
  initrd /initrd
  append console=ttyS0 quiet panic=-1 mitigations=off WRITES=1
"""


def ensure() -> Path:
    """The image's archive, made if it is not there."""
    digest = hashlib.sha256(Path(guest.__file__).read_bytes() + guest.INIT.read_bytes())
    digest.update(Path(__file__).read_bytes() + guest.kernel().name.encode())
    place = DIRECTORY / f"guest-{digest.hexdigest()[:12]}.tar"
    if not place.exists():
        layer = place.with_suffix(".layer")
        archive.write_layer(layer, {DISC: File(padded(_disc()), 0o644, base.QEMU)})
        unfinished = place.with_suffix(".unfinished")
        archive.write(unfinished, archive.Image(NAME, [layer], ["/none"], str(base.QEMU)))
        layer.unlink()
        unfinished.rename(place)
    return place


def _disc() -> bytes:
    """An ISO 9660 file system that a BIOS boots; the options are those of isolinux's manual."""
    with tempfile.TemporaryDirectory() as name:
        root, disc = Path(name) / "root", Path(name) / "guest.iso"
        root.mkdir()
        shutil.copy(BOOT_LOADER, root)
        shutil.copy(BOOT_LOADERS_LIBRARY, root)
        shutil.copy(guest.kernel(), root / "vmlinuz")
        (root / "initrd").write_bytes(guest.initial_ram_disk())
        (root / "isolinux.cfg").write_text(MENU)
        run(
            "xorriso", "-as", "mkisofs", "-quiet", "-o", str(disc),
            "-b", BOOT_LOADER.name, "-c", "boot.cat",
            "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table", str(root),
        )  # fmt: skip
        return disc.read_bytes()


def padded(disc: bytes) -> bytes:
    """A disc with as many empty sectors behind it as give it a small checksum.

    KubeVirt 1.6 writes its CRC-32 into the instance's status, where its own definition has room
    for 31 bits. With a larger one the API server refuses each status, and the instance stays
    Scheduled for ever: `status.volumeStatus[].containerDiskVolume.checksum`.
    """
    empty = bytes(SECTOR)
    checksum, padding = zlib.crc32(disc), b""
    while checksum >= CHECKSUM_LIMIT:
        checksum, padding = zlib.crc32(empty, checksum), padding + empty
    return disc + padding
