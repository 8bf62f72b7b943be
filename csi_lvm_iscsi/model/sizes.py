"""Sizes of volumes, in bytes."""

from csi_lvm_iscsi.model.errors import InvalidArgument, OutOfRange

GIB = 1 << 30
DEFAULT_SIZE = GIB
_MAX_INT64 = (1 << 63) - 1


def volume_size(required: int, limit: int, extent: int) -> int:
    """The size of the volume to make: `required` bytes, rounded up to whole extents.

    0 means "not given" for either, as protobuf cannot tell (CSI spec, CapacityRange): 1 GiB, or
    the limit where that is less. Raises InvalidArgument where a size is negative or the limit is
    below what is required, OutOfRange where no whole number of extents lies between them.
    """
    if required < 0 or limit < 0:
        raise InvalidArgument("A volume's size cannot be negative: ask for at least 1 byte.")
    if limit and required > limit:
        raise InvalidArgument(
            f"The size required, {human(required)}, is above the limit, {human(limit)}."
        )
    wanted = required or min(DEFAULT_SIZE, limit or DEFAULT_SIZE)
    size = whole(wanted, extent)
    if limit and size > limit:
        size = limit // extent * extent
    if size < max(required, extent) or size > _MAX_INT64:
        raise OutOfRange(
            f"Volumes are made of extents of {human(extent)}: no whole number of them is "
            f"between {required} and {limit or _MAX_INT64} bytes. Change the size asked for."
        )
    return size


def whole(size: int, extent: int) -> int:
    """A size rounded up to whole extents, at least one."""
    return max(1, -(-size // extent)) * extent


def fits(size: int, required: int, limit: int) -> bool:
    """Whether a volume of `size` bytes answers a request for this range (0: not given)."""
    return size >= required and (not limit or size <= limit)


def human(size: int) -> str:
    """A size for people: 1.5 GiB."""
    value, unit = _scaled(size)
    return f"{value:.4g} {unit}"


def short(size: int) -> str:
    """A size for a column of a table: 1.5GiB."""
    value, unit = _scaled(size)
    return f"{value:.1f}".removesuffix(".0") + ("B" if unit == "bytes" else unit)


def _scaled(size: int) -> tuple[float, str]:
    value = float(size)
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            return value, unit
        value /= 1024
    return value, "PiB"
