"""The chapters on one volume with a file system and one without."""

from __future__ import annotations

from tests.e2e.demo.answers import of_targets
from tests.e2e.demo.scene import Mismatch, Scene
from tests.e2e.driver import MIB, Refused, Volume

SIZE = 256 * MIB
FIRST_NODE, SECOND_NODE = "compute-1", "compute-2"
WRITTEN_MIB = 8


def show_targets(scene: Scene, storage: str) -> list[str]:
    """Show what a storage host exports and to whom."""
    return scene.ask(storage, "tgtadm --mode target --op show", of_targets)


def disk_of(scene: Scene, node: str, serial: str) -> str:
    """Show the one iSCSI disk that a node has, and return its name. Raises Mismatch where it has
    another serial number."""
    answer = scene.ask(node, "lsblk --scsi --output NAME,SIZE,VENDOR,MODEL,TRAN")
    if len(answer) != 2:
        raise Mismatch(f"{node} should have one disk, and has {len(answer[1:])}.")
    disk = answer[1].split()[0]
    wwid = scene.ask(node, f"cat /sys/block/{disk}/device/wwid")
    # An NAA identifier begins with its type, for which tgt takes 6.
    scene.check(wwid == [f"naa.6{serial}"], f"{disk} has the serial number of the volume")
    return disk


def file_system(scene: Scene) -> tuple[Volume, str]:
    """A volume is made, attached, mounted and written; it, and the checksum of its file."""
    scene.screen.chapter("A volume with a file system, from nothing to a pod's file")
    scene.screen.say(
        "Create (Cinder: create volume). The controller picks the storage host with most free "
        "space; there, a thin logical volume is made. Its tag keeps the name that Kubernetes gave: "
        "LVM itself is the only database of volumes. For the first volume of a pool LVM takes "
        "longer than for later ones."
    )
    volume, storage = _create(scene, "pvc-files", block=False)
    _publish(scene, volume, storage)
    _stage(scene, volume)
    _mount(scene, volume)
    return volume, _write_file(scene, volume)


def _create(scene: Scene, name: str, *, block: bool) -> tuple[Volume, str]:
    volume = scene.driver.create(name, block=block, size=SIZE)
    storage = scene.storage_host(volume)
    scene.ask(storage, "lvs --options lv_name,lv_size,pool_lv,lv_tags vg0")
    return volume, storage


def _publish(scene: Scene, volume: Volume, storage: str) -> None:
    scene.screen.say(
        "Publish (Cinder: create export, initialise connection). The storage host exports the LV "
        "with tgt: one target per volume, which only this node's initiator name and a CHAP account "
        "of this one publication can log in to. The password is derived on both sides from a key "
        "and the publication's nonce: it is in no answer and on no command line."
    )
    context = scene.driver.publish(volume, FIRST_NODE)
    answer = ", ".join(f"{key} {context[key]}" for key in ("portals", "lun", "serial", "nonce"))
    scene.screen.progress(f"answer: {answer}")
    show_targets(scene, storage)


def _stage(scene: Scene, volume: Volume) -> None:
    scene.screen.say(
        f"Stage (Cinder: os-brick's connect volume, the attach). {FIRST_NODE} logs in with "
        "iscsiadm, makes sure by its serial number that the new disk is this volume, makes a file "
        "system as there is nothing on it yet, and mounts it for the whole node."
    )
    scene.driver.stage(volume, FIRST_NODE)
    scene.ask(FIRST_NODE, "iscsiadm --mode session")
    disk = disk_of(scene, FIRST_NODE, volume.contexts[FIRST_NODE]["serial"])
    scene.ask(FIRST_NODE, f"findmnt --source /dev/{disk} --output TARGET,SOURCE,FSTYPE,OPTIONS")


def _mount(scene: Scene, volume: Volume) -> None:
    scene.screen.say("Mount. The pod gets a bind mount of it in a directory of its own.")
    scene.driver.publish_to_pod(volume, FIRST_NODE)
    scene.ask(FIRST_NODE, f"findmnt --mountpoint {volume.target_path}")


def _write_file(scene: Scene, volume: Volume) -> str:
    scene.screen.say(
        f"Write. The pod writes {WRITTEN_MIB} MiB of random bytes, with their checksum taken on "
        "the way. They are in the page cache now: getting them to the LV is the detach's duty."
    )
    command = f"head -c {WRITTEN_MIB}M /dev/urandom | tee {volume.data_path} | sha256sum"
    return scene.ask(FIRST_NODE, command)[0].split()[0]


def move(scene: Scene, volume: Volume, checksum: str) -> None:
    """The volume is detached from the first node, and read on the second."""
    scene.screen.chapter("The volume moves to another node, with its data")
    _detach(scene, volume)
    _attach_again(scene, volume, checksum)
    _try_first_node(scene, volume)


def _detach(scene: Scene, volume: Volume) -> None:
    scene.screen.say(
        "Detach, in three steps: the bind mount goes; the node unmounts, writes out and logs out "
        "(Cinder: disconnect volume); the storage host fences the node off (Cinder: terminate "
        "connection, remove export): account, connections and target are gone before it answers, "
        "so that no late write of the old node can ever reach the LV."
    )
    scene.driver.detach(volume, FIRST_NODE)
    scene.ask(FIRST_NODE, "iscsiadm --mode session")
    storage = scene.storage_host(volume)
    targets = show_targets(scene, storage)
    accounts = scene.ask(storage, "tgtadm --mode account --op show")
    scene.check(not targets and not accounts, "the target and its account are gone")


def _attach_again(scene: Scene, volume: Volume, checksum: str) -> None:
    scene.screen.say(f"Attach on {SECOND_NODE}, in the same three steps as before, and read back.")
    scene.driver.attach(volume, SECOND_NODE)
    scene.ask(SECOND_NODE, "iscsiadm --mode session")
    disk_of(scene, SECOND_NODE, volume.contexts[SECOND_NODE]["serial"])
    read = scene.ask(SECOND_NODE, f"sha256sum <{volume.data_path}")[0].split()[0]
    scene.check(read == checksum, f"{SECOND_NODE} reads what {FIRST_NODE} wrote")


def _try_first_node(scene: Scene, volume: Volume) -> None:
    scene.screen.say(
        f"While {SECOND_NODE} has it, {FIRST_NODE} cannot get it: two nodes with one ext4 mounted "
        "would destroy it."
    )
    try:
        scene.driver.publish(volume, FIRST_NODE)
    except Refused as refusal:
        scene.screen.progress(f"{refusal.code}: {refusal.message}")
        scene.check(refusal.code == "FAILED_PRECONDITION", "a second node is refused")
    else:
        raise Mismatch(f"{FIRST_NODE} got the volume while {SECOND_NODE} has it.")


def raw_block(scene: Scene, other: Volume) -> tuple[Volume, str]:
    """A volume without a file system; it, and the name of its disk on the node."""
    scene.screen.chapter("A raw block volume, as a virtual machine's disk")
    scene.screen.say("Create. Again it goes to the storage host that has most free space now.")
    volume, storage = _create(scene, "pvc-disk", block=True)
    scene.check(
        storage != scene.storage_host(other),
        f"it went to {storage}, which had more free space than {scene.storage_host(other)}",
    )
    scene.screen.say(
        f"Attach on {FIRST_NODE}. The steps are the same, but nothing is formatted or mounted: the "
        "pod, or the virtual machine in it, gets the device itself."
    )
    scene.driver.attach(volume, FIRST_NODE)
    disk = disk_of(scene, FIRST_NODE, volume.contexts[FIRST_NODE]["serial"])
    scene.ask(FIRST_NODE, f"ls -l {volume.target_path}")
    _write_block(scene, volume)
    return volume, disk


def _write_block(scene: Scene, volume: Volume) -> None:
    scene.screen.say(
        f"Write {WRITTEN_MIB} MiB of random bytes past all caches (O_DIRECT), and read them back."
    )
    device = volume.target_path
    (written,) = scene.ask(
        FIRST_NODE,
        f"head -c {WRITTEN_MIB}M /dev/urandom | tee /run/random | sha256sum\n"
        f"dd if=/run/random of={device} bs=1M oflag=direct status=none\n"
        "rm /run/random",
    )
    (read,) = scene.ask(
        FIRST_NODE,
        f"dd if={device} bs=1M count={WRITTEN_MIB} iflag=direct status=none |\n    sha256sum",
    )
    scene.check(read == written, "what was read is what was written")
