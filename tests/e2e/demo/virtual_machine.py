"""The last chapter on a volume: it becomes a disk of a virtual machine that runs."""

from __future__ import annotations

from tests.e2e.demo.chapters import FIRST_NODE, SECOND_NODE, SIZE
from tests.e2e.demo.scene import Scene
from tests.e2e.driver import MIB, Volume
from tests.e2e.guest.guest import SERIAL_DIGITS, Guest

TEXT = "Greetings from a pod on compute-1"
GROWN = SIZE + 128 * MIB
BLOCK = 4096
LAST_BLOCK = GROWN // BLOCK - 1


def a_guest_gets_it(scene: Scene, volume: Volume, guest: Guest) -> None:
    """The volume goes from a pod to a running guest, grows there, and comes back."""
    scene.screen.chapter("The volume becomes a disk of a running virtual machine, and grows there")
    scene.screen.say(
        f"On {SECOND_NODE} runs a virtual machine: a Linux of its own in QEMU, which booted during "
        "the last chapters. It has no network and no disk, only a serial port, on which it says "
        "what it sees and does."
    )
    _show(scene, guest.wait_up())
    _move_to_guest_host(scene, volume)
    serial = volume.contexts[SECOND_NODE]["serial"]
    _plug(scene, volume, guest, serial)
    _grow(scene, volume, guest, serial)
    _return(scene, volume, guest, serial)


def _show(scene: Scene, said: list[str]) -> None:
    for line in said:
        scene.screen.quote("guest", line)


def _move_to_guest_host(scene: Scene, volume: Volume) -> None:
    scene.screen.say(
        f"The pod on {FIRST_NODE} leaves a text at the beginning of the volume, and goes. The "
        f"volume is detached there, and attached on {SECOND_NODE}."
    )
    device = volume.target_path
    scene.ask(FIRST_NODE, f"echo '{TEXT}' >{device}\nhead -n 1 {device}")
    scene.driver.detach(volume, FIRST_NODE)
    scene.driver.attach(volume, SECOND_NODE)


def _plug(scene: Scene, volume: Volume, guest: Guest, serial: str) -> None:
    scene.screen.say(
        "Hot-plug (Nova: attach volume). QEMU opens the device that a pod would have got, and the "
        f"guest gets a new SCSI disk, with the first {SERIAL_DIGITS} digits of the volume's serial "
        "number. It reads what is there, and writes a line behind that."
    )
    guest.plug(volume.target_path, serial)
    said = guest.hear("block 1 ")
    _show(scene, said)
    appeared = f"sda appeared: {SIZE // MIB} MiB, serial {serial[:SERIAL_DIGITS]}"
    scene.check(appeared in said, "it is the volume, by size and serial number")
    scene.check(f"sda begins with: {TEXT}" in said, "the guest reads what the pod wrote")


def _grow(scene: Scene, volume: Volume, guest: Guest, serial: str) -> None:
    scene.screen.say(
        "Grow (Cinder: extend volume), while the guest runs. The storage host makes the logical "
        "volume larger and tgt's unit with it, the node asks for the new size of its disk, and "
        "QEMU tells the guest, which writes to the new end."
    )
    scene.driver.expand(volume, SECOND_NODE, GROWN)
    guest.resize(serial, GROWN)
    said = guest.hear(f"block {LAST_BLOCK} ")
    _show(scene, said)
    scene.check(f"sda grew: {GROWN // MIB} MiB" in said, "the guest has the new size, and uses it")


def _return(scene: Scene, volume: Volume, guest: Guest, serial: str) -> None:
    scene.screen.say(
        f"Unplug (Nova: detach volume), detach, attach on {FIRST_NODE}: a pod there reads what the "
        "guest wrote."
    )
    _show(scene, guest.unplug(serial))
    scene.driver.detach(volume, SECOND_NODE)
    scene.driver.attach(volume, FIRST_NODE)
    read = scene.ask(
        FIRST_NODE,
        f"for block in 0 1 {LAST_BLOCK}; do\n"
        f"    dd if={volume.target_path} bs={BLOCK} count=1 skip=$block \\\n"
        "        iflag=direct status=none | head -n 1\n"
        "done",
    )
    scene.check(
        read == [TEXT, "line 1 of the guest", "the end, by the guest"],
        "the pod reads what the guest wrote, at the new end too",
    )
