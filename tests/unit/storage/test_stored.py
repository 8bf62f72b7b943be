"""Tags: all that is known of a volume or snapshot goes through them."""

from hypothesis import given
from hypothesis import strategies as st

from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.storage.report import LogicalVolume, VolumeGroup
from csi_lvm_iscsi.storage.stored import (
    StoredSnapshot,
    is_waste,
    snapshot_in,
    snapshot_tags,
    volume_in,
    volume_tags,
)

GROUP = VolumeGroup("vg0", "XAcVys-jmzE-nxh3-m62v-KFVw-kR9X-7kJzx3", 4 << 20, 0, 0, (), {}, {})
TAG_ALPHABET = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+.-/=!:&#")
names_of_csi = st.text(min_size=1, max_size=64)


@given(names_of_csi, names_of_csi, st.booleans())
def test_a_volume_is_what_its_tags_say(name: str, claim: str, unfinished: bool) -> None:  # noqa: FBT001
    tags = volume_tags(name, {"pvc": claim}, "b50993d2-s.a", unfinished=unfinished)
    assert set("".join(tags)) <= TAG_ALPHABET
    volume = volume_in(GROUP, LogicalVolume("any", 1, tuple(tags), "pool"))
    assert volume is not None
    assert volume.name == name
    assert volume.id == names.volume_id(GROUP.uuid, name)
    assert (volume.source_id, volume.unfinished) == ("b50993d2-s.a", unfinished)


@given(names_of_csi, st.booleans())
def test_a_snapshot_is_what_its_tags_say(name: str, internal: bool) -> None:  # noqa: FBT001
    snapshot_id = names.snapshot_id(GROUP.uuid, name)
    snapshot = StoredSnapshot(
        id=snapshot_id,
        name=name,
        volume_id="b50993d2-v",
        size_bytes=1 << 30,
        created_seconds=1_800_000_000,
        volume_group="vg0",
        thin_pool="pool",
        logical_volume=snapshot_id,
        internal=internal,
    )
    logical_volume = LogicalVolume(snapshot_id, 1, tuple(snapshot_tags(snapshot)), "pool")
    assert snapshot_in(GROUP, logical_volume) == snapshot
    assert volume_in(GROUP, logical_volume) is None


def test_what_is_deleted_is_neither_and_what_is_not_ours_is_no_waste() -> None:
    tags = tuple(volume_tags("a", {}))
    deleted = LogicalVolume("wipe-0.b50993d2-a", 1, tags)
    assert volume_in(GROUP, deleted) is None
    assert is_waste(deleted)
    assert not is_waste(LogicalVolume("wipe-0.b50993d2-a", 1, ()))
    assert volume_in(GROUP, LogicalVolume("b50993d2-a", 1, ())) is None
