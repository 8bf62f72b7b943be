from csi_lvm_iscsi.controller.placement import free_order
from csi_lvm_iscsi.model.volumes import Pool


def pool(*, size: int, free: int, provisioned: int) -> Pool:
    return Pool(
        volume_group="vg0",
        volume_group_uuid="uuid",
        thin_pool="pool",
        size_bytes=size,
        free_bytes=free,
        provisioned_bytes=provisioned,
        available_bytes=size - provisioned,
        maximum_volume_bytes=size,
    )


def order(**pools: Pool) -> list[str]:
    return sorted(pools, key=lambda host: free_order(host, pools[host]))


def test_the_least_promised_comes_first() -> None:
    assert order(
        written=pool(size=100, free=10, provisioned=40),
        promised=pool(size=100, free=100, provisioned=80),
        over=pool(size=100, free=90, provisioned=150),
    ) == ["written", "promised", "over"]


def test_equal_promises_are_told_apart_by_what_is_written() -> None:
    full = pool(size=100, free=0, provisioned=50)
    assert order(full=full, empty=pool(size=100, free=100, provisioned=50)) == ["empty", "full"]


def test_equals_come_in_the_order_of_their_names() -> None:
    same = pool(size=1, free=1, provisioned=0)
    assert order(b=same, a=same) == ["a", "b"]
