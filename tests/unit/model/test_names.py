import pytest
from hypothesis import given
from hypothesis import strategies as st

from csi_lvm_iscsi.model import names
from csi_lvm_iscsi.model.errors import InvalidArgument

UUID = "XAcVys-jmzE-nxh3-m62v-KFVw-kR9X-7kJzx3"
# What LVM keeps for itself: lvm(8), "VALID NAMES".
RESERVED = ("_cdata", "_cmeta", "_corig", "_mlog", "_mimage", "_pmspare", "_rimage", "_rmeta",
            "_tdata", "_tmeta", "_vorigin", "_vdata")  # fmt: skip
csi_names = st.text(min_size=1, max_size=128).filter(lambda text: len(text.encode()) <= 128)


@given(csi_names)
def test_every_name_gives_an_id_that_lvm_device_mapper_and_iscsi_take(name: str) -> None:
    volume = names.volume_id(UUID, name)
    assert names.is_volume_id(volume)
    assert set(volume) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-")
    assert not any(word in volume for word in RESERVED)
    assert len(names.device_mapper_name("vg0", volume)) < 128
    assert len(names.target_iqn(volume).encode()) <= 223


@given(csi_names, csi_names)
def test_two_names_never_share_an_id(one: str, other: str) -> None:
    assert (names.volume_id(UUID, one) == names.volume_id(UUID, other)) == (one == other)


def test_a_name_that_looks_like_a_hashed_one_is_hashed_itself() -> None:
    hashed = names.volume_id(UUID, "UPPER").partition("-")[2]
    assert names.volume_id(UUID, hashed) != names.volume_id(UUID, "UPPER")


def test_names_that_people_know_are_kept() -> None:
    name = "pvc-8f0e3f3e-9d3b-4c39-8f3a-0a2e6d0a4a11"
    assert names.volume_id(UUID, name) == f"{names.volume_group_hash(UUID)}-{name}"


def test_the_id_tells_the_volume_group() -> None:
    assert names.volume_id(UUID, "a") != names.volume_id(UUID[::-1], "a")


@pytest.mark.parametrize("text", ["", "pvc-1", "b50993d2", "b50993d2-", "B50993D2-a", "../x",
                                  "b50993d2-a/b", "b50993d2-" + "a" * 64])  # fmt: skip
def test_what_cannot_be_an_id(text: str) -> None:
    assert not names.is_volume_id(text)


@given(st.text())
def test_tags_keep_any_text_in_lvms_alphabet(text: str) -> None:
    tag = names.encode_tag(text)
    assert set(tag) <= set(
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+.-/=!:&#"
    )
    assert names.decode_tag(tag) == text


@given(csi_names)
def test_the_longest_tag_is_within_lvms_1024_characters(name: str) -> None:
    assert len(names.encode_tag(name)) + len("csi-lvm-iscsi:namespace=") <= 1024


@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyz0123456789.-", min_size=1, max_size=253))
def test_every_node_has_an_initiator_name(node: str) -> None:
    assert len(names.initiator_iqn(node).encode()) <= 223


def test_node_names_that_differ_in_case_differ_as_initiators() -> None:
    assert names.initiator_iqn("Node") != names.initiator_iqn("node")


@pytest.mark.parametrize("name", ["", "a" * 129, "ä" * 65, "a\0b", "a\x1bb", "a\x7f"])
def test_names_that_csi_forbids(name: str) -> None:
    with pytest.raises(InvalidArgument):
        names.check_name(name)


@given(st.text(min_size=1))
def test_a_serial_is_31_hexadecimal_digits(volume: str) -> None:
    assert len(names.serial(volume)) == 31
    int(names.serial(volume), 16)


node_names = st.text(min_size=1, max_size=253)


@given(csi_names, node_names, node_names)
def test_nodes_that_share_a_volume_have_a_target_each(name: str, one: str, other: str) -> None:
    volume = names.volume_id(UUID, name)
    target = names.target_iqn(volume, one)
    assert set(target) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-:")
    assert len(target) <= 223
    assert (
        names.volume_of_target(target) == volume == names.volume_of_target(names.target_iqn(volume))
    )
    assert target != names.target_iqn(volume)
    assert (target == names.target_iqn(volume, other)) == (one == other)


def test_targets_of_others_are_of_no_volume() -> None:
    assert names.volume_of_target("iqn.2001-04.com.example:disk") == ""
