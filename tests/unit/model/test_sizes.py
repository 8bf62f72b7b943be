import pytest
from hypothesis import assume, given, reject
from hypothesis import strategies as st

from csi_lvm_iscsi.model import sizes
from csi_lvm_iscsi.model.errors import InvalidArgument, OutOfRange

MIB = 1 << 20
EXTENT = 4 * MIB
amounts = st.integers(min_value=0, max_value=1 << 62)


@given(amounts, amounts, st.sampled_from([EXTENT, 1 << 16, 1 << 30]))
def test_a_size_is_whole_extents_within_what_was_asked(
    required: int, limit: int, extent: int
) -> None:
    try:
        size = sizes.volume_size(required, limit, extent)
    except (InvalidArgument, OutOfRange):
        reject()
    assert size % extent == 0
    assert size >= extent
    assert sizes.fits(size, required, limit)


@given(amounts, st.sampled_from([EXTENT, 1 << 16]))
def test_never_an_extent_more_than_needed(required: int, extent: int) -> None:
    assume(required > 0)
    assert sizes.volume_size(required, 0, extent) - required < extent


@pytest.mark.parametrize(("required", "limit"), [(-1, 0), (0, -1), (2 * MIB, MIB)])
def test_sizes_that_make_no_sense(required: int, limit: int) -> None:
    with pytest.raises(InvalidArgument):
        sizes.volume_size(required, limit, EXTENT)


@pytest.mark.parametrize(("required", "limit"), [(1, 2 * MIB), (0, MIB), ((1 << 63) - 1, 0)])
def test_sizes_that_extents_cannot_meet(required: int, limit: int) -> None:
    with pytest.raises(OutOfRange):
        sizes.volume_size(required, limit, EXTENT)


def test_nothing_asked_gives_a_gibibyte_or_the_limit() -> None:
    assert sizes.volume_size(0, 0, EXTENT) == sizes.GIB
    assert sizes.volume_size(0, 9 * MIB, EXTENT) == 8 * MIB


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 bytes"), (1536, "1.5 KiB"), (1 << 40, "1 TiB"), (1 << 60, "1024 PiB")]
)
def test_sizes_for_people(size: int, text: str) -> None:
    assert sizes.human(size) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0B"), (1536, "1.5KiB"), (3 << 40, "3TiB"), (3_906_250_000, "3.6GiB"), (1023, "1023B")],
)
def test_sizes_for_columns(size: int, text: str) -> None:
    assert sizes.short(size) == text
