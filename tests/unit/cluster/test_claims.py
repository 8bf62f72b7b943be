"""Which host a volume group belongs to, over what hosts report."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from csi_lvm_iscsi.operator.claims import gains_first, settle
from csi_lvm_iscsi.storage_client.storage_node import StorageNode

HOSTS, GROUPS = ["one", "two", "three"], ["A", "B"]


def node(
    name: str, groups: Mapping[str, str] | None = None, *, retired: bool = False
) -> StorageNode:
    return StorageNode(name, "uid", "1", 1, True, retired, "", groups or {}, {})  # noqa: FBT003


def nodes(*all_nodes: StorageNode) -> dict[str, StorageNode]:
    return {each.name: each for each in all_nodes}


VG = {"A": "vg0"}


def test_at_first_contact_a_host_gets_what_it_has() -> None:
    settled = settle(nodes(node("one")), {"one": VG})
    assert settled["one"].groups == VG
    assert not settled["one"].conflicts


def test_a_silent_host_keeps_its_groups() -> None:
    assert settle(nodes(node("one", VG)), {})["one"].groups == VG


def test_a_group_that_nobody_reports_stays_where_it_was() -> None:
    assert settle(nodes(node("one", VG)), {"one": {}})["one"].groups == VG


def test_a_group_whose_host_is_silent_is_not_taken() -> None:
    settled = settle(nodes(node("one", VG), node("two")), {"two": VG})
    assert settled["two"].groups == {}
    (conflict,) = settled["two"].conflicts
    assert "belongs to one, which does not answer" in conflict
    assert "kubectl patch storagenode one" in conflict


def test_a_group_that_two_hosts_see_is_not_taken() -> None:
    settled = settle(nodes(node("one", VG), node("two")), {"one": VG, "two": VG})
    assert settled["two"].groups == {}
    assert "vgimportclone" in settled["two"].conflicts[0]
    assert not settled["one"].conflicts


def test_a_group_moves_from_a_host_that_is_retired_or_has_it_no_more() -> None:
    for former, reports in (
        (node("one", VG, retired=True), {"two": VG}),
        (node("one", VG), {"one": {}, "two": VG}),
    ):
        first = settle(nodes(former, node("two")), reports)
        assert first["two"].groups == VG
        # It is not taken off before it is seen there: it would belong to nobody.
        assert first["one"].groups == VG
        second = settle(nodes(former, node("two", VG)), reports)
        assert (second["one"].groups, second["two"].groups) == ({}, VG)
        assert not second["two"].conflicts


def test_a_retired_host_gets_nothing() -> None:
    assert settle(nodes(node("one", retired=True)), {"one": VG})["one"].groups == {}


def test_a_group_made_anew_by_the_same_name_replaces_the_former() -> None:
    settled = settle(
        nodes(node("one", {"A": "vg0", "B": "vg1"})), {"one": {"C": "vg0", "B": "new"}}
    )
    assert settled["one"].groups == {"C": "vg0", "B": "new"}


def test_hosts_that_lose_a_group_are_written_last() -> None:
    all_nodes = nodes(node("one", VG), node("two"), node("three", {"C": "vg0"}))
    settled = settle(all_nodes, {"one": {"B": "vg0"}, "two": VG, "three": {"C": "vg0"}})
    assert settled["two"].groups == VG
    assert gains_first(all_nodes, settled) == ["three", "two", "one"]


some_groups = st.dictionaries(st.sampled_from(GROUPS), st.just("vg"), max_size=2)


@given(
    spec=st.fixed_dictionaries({name: st.tuples(some_groups, st.booleans()) for name in HOSTS}),
    reports=st.dictionaries(st.sampled_from(HOSTS), some_groups.map(lambda each: each)),
)
def test_no_group_is_lost_and_all_come_to_rest(
    spec: dict[str, tuple[dict[str, str], bool]], reports: dict[str, dict[str, str]]
) -> None:
    """Whoever has what, and whichever write comes first."""
    # Each group by a name of its own, as a host has no two of one name.
    named = {host: {each: each for each in groups} for host, groups in reports.items()}
    now = nodes(
        *(
            node(host, {each: each for each in groups}, retired=retired)
            for host, (groups, retired) in spec.items()
        )
    )
    owned = {uuid for each in now.values() for uuid in each.volume_groups}
    for _ in range(4):
        settled = settle(now, named)
        for host in HOSTS:  # one write at a time: the operator may be killed after any
            now[host] = node(host, settled[host].groups, retired=now[host].retired)
            assert owned <= {uuid for each in now.values() for uuid in each.volume_groups}
    assert {host: each.groups for host, each in settle(now, named).items()} == {
        host: each.volume_groups for host, each in now.items()
    }
