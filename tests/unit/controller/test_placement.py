from csi_lvm_iscsi.controller.placement import free_order
from csi_lvm_iscsi.model.volumes import Capacity


def host(name: str, *, size: int, free: int, provisioned: int) -> Capacity:
    return Capacity(name, f"uuid-of-{name}", size, free, provisioned)


def test_the_least_promised_comes_first() -> None:
    hosts = [
        host("written", size=100, free=10, provisioned=40),
        host("promised", size=100, free=100, provisioned=80),
        host("over", size=100, free=90, provisioned=150),
    ]
    assert [each.host for each in sorted(hosts, key=free_order)] == ["written", "promised", "over"]


def test_equal_promises_are_told_apart_by_what_is_written() -> None:
    hosts = [
        host("full", size=100, free=0, provisioned=50),
        host("empty", size=100, free=100, provisioned=50),
    ]
    assert [each.host for each in sorted(hosts, key=free_order)] == ["empty", "full"]


def test_equals_come_in_the_order_of_their_names() -> None:
    hosts = [host(name, size=1, free=1, provisioned=0) for name in "ba"]
    assert [each.host for each in sorted(hosts, key=free_order)] == ["a", "b"]
