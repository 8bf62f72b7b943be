"""What goes on around a volume in a virtual machine: deaths, moves, restarts, other volumes."""

from __future__ import annotations

from tests.e2e.kubernetes.manifests import claim, pod
from tests.e2e.kubernetes.user import User, until
from tests.e2e.kubevirt.hotplugs import attached, detach, kill_operator, nonces, targets
from tests.e2e.kubevirt.machine import PATIENCE, VirtualMachine
from tests.e2e.kubevirt.manifests import volume_hotplug
from tests.e2e.kubevirt.test_hotplug import OTHER_NODE, read, write
from tests.e2e.lab.kubevirt.cluster import KubeVirtCluster

LINES = 100
"""So many take the guest longer than tgtd takes to be found and killed."""


def test_tgtd_killed_while_the_guest_writes(
    cluster: KubeVirtCluster, user: User, c2: VirtualMachine
) -> None:
    """The guest notices nothing; KubeVirt would pause it with the first error."""
    user.apply(claim("lasts", block=True), volume_hotplug("c2-lasts", "lasts", "c2"))
    attached(user, "c2-lasts")
    c2.hear("block 1 ")
    c2.order(f"lines sda {LINES}")
    c2.hear("block 5 ")
    cluster.host("storage-1").exec("pkill", "-KILL", "tgtd").check()
    assert not any(f"block {LINES} " in line for line in c2.words()[-5:]), "tgtd died too late"
    expected = [f"sda block {n} written: line {n} of the guest" for n in range(6, LINES + 1)]
    assert c2.hear(f"block {LINES} ") == expected
    assert "I/O error" not in c2.log()
    conditions = [each["type"] for each in user.get("vmi/c2")["status"]["conditions"]]
    assert "Paused" not in conditions
    detach(user, c2, "lasts")


def test_the_operator_is_killed_on_both_ways(
    cluster: KubeVirtCluster, user: User, c2: VirtualMachine
) -> None:
    """With several at once, and the guest has each of them once."""
    names = ("one", "two", "three", "four")
    hotplugs = [f"vhp/c2-{name}" for name in names]
    user.apply(*(claim(name, block=True) for name in names))
    user.apply(*(volume_hotplug(f"c2-{name}", name, "c2") for name in names))
    kill_operator(cluster)
    for name in names:
        attached(user, f"c2-{name}")
    said = [line for _ in names for line in c2.hear("block 1 ")]
    appeared = [line.partition("serial ")[2] for line in said if " appeared: " in line]
    assert sorted(appeared) == sorted(user.get(each)["status"]["serial"] for each in hotplugs)

    user.kubectl("delete", *hotplugs, "--wait=false")
    kill_operator(cluster)
    for each in hotplugs:
        user.wait("delete", each, seconds=PATIENCE)
    said = [line for _ in names for line in c2.hear("is gone")]
    assert sorted(said) == [f"{disk} is gone" for disk in ("sda", "sdb", "sdc", "sdd")]
    user.delete(*(f"pvc/{name}" for name in names))


def test_two_nodes_have_a_volume_each_by_its_own_credentials(
    cluster: KubeVirtCluster, user: User, c2: VirtualMachine
) -> None:
    """As a live migration needs it, and access is withdrawn from the one that is done."""
    user.apply(
        claim("shared", block=True, mode="ReadWriteMany"),
        volume_hotplug("c2-shared", "shared", "c2"),
    )
    attached(user, "c2-shared")
    c2.hear("block 1 ")
    user.apply(pod("second", "shared", node=OTHER_NODE, block=True))
    user.await_pods("second")
    found = nonces(user, "shared")
    assert set(found) == {"compute-1", OTHER_NODE}
    assert len(set(found.values())) == 2, "the nodes share their credentials"
    assert len(targets(cluster, user.volume_id("shared"))) == 2
    assert read(user, "second", 1) == "line 1 of the guest"
    write(user, "second", "of the second node")
    c2.order("read sda 0")
    assert c2.hear("reads: ") == ["sda block 0 reads: of the second node"]

    user.delete("pod/second")
    volume = user.volume_id("shared")
    until(lambda: len(targets(cluster, volume)) == 1, lambda: f"{targets(cluster, volume)}")
    assert nonces(user, "shared") == {"compute-1": found["compute-1"]}
    c2.order("write sda 2 still there")
    assert c2.hear("block 2 ") == ["sda block 2 written: still there"]
    detach(user, c2, "shared")


def test_a_machine_moves_to_another_node_with_it(
    cluster: KubeVirtCluster, user: User, c2: VirtualMachine
) -> None:
    user.apply(
        claim("moves", block=True, mode="ReadWriteMany"), volume_hotplug("c2-moves", "moves", "c2")
    )
    attached(user, "c2-moves")
    c2.hear("block 1 ")
    before = nonces(user, "moves")
    assert c2.migrate() == OTHER_NODE
    user.wait(f"jsonpath={{.status.node}}={OTHER_NODE}", "vhp/c2-moves", seconds=PATIENCE)
    volume = user.volume_id("moves")
    until(lambda: len(targets(cluster, volume)) == 1, lambda: f"{targets(cluster, volume)}")
    assert set(nonces(user, "moves")) == {OTHER_NODE}
    assert nonces(user, "moves") != before
    c2.order("write sda 2 after the move")
    assert c2.hear("block 2 ") == ["sda block 2 written: after the move"]
    detach(user, c2, "moves")


def test_a_machine_that_was_switched_off_and_on_has_it_again(
    user: User, c2: VirtualMachine
) -> None:
    user.apply(claim("again", block=True), volume_hotplug("c2-again", "again", "c2"))
    attached(user, "c2-again")
    c2.hear("block 1 ")
    c2.order("write sda 2 before the restart")
    c2.hear("block 2 ")
    c2.restart()
    serial = user.get("vhp/c2-again")["status"]["serial"]
    assert c2.hear("block 1 ")[0] == f"sda appeared: 64 MiB, serial {serial}"
    c2.order("read sda 2")
    assert c2.hear("reads: ")[-1].rstrip() == "sda block 2 reads: before the restart"
    attached(user, "c2-again")
    detach(user, c2, "again")


def test_a_second_volume_comes_and_goes_while_the_guest_writes_to_the_first(
    user: User, c2: VirtualMachine
) -> None:
    """KubeVirt replaces the attachment pod of all volumes of a machine each time."""
    user.apply(
        *(claim(name, block=True) for name in ("first", "second")),
        volume_hotplug("c2-first", "first", "c2"),
    )
    attached(user, "c2-first")
    c2.hear("block 1 ")
    before = _attachment_pod(user, "c2-first")
    c2.order(f"lines sda {LINES}")
    c2.hear("block 5 ")
    user.apply(volume_hotplug("c2-second", "second", "c2"))
    attached(user, "c2-second")
    until(lambda: _attachment_pod(user, "c2-first") != before, lambda: f"still {before}", PATIENCE)
    expected = [f"sda block {n} written: line {n} of the guest" for n in range(6, LINES + 1)]
    assert c2.hear(f"block {LINES} ") == expected
    assert c2.hear("block 1 ")[0].startswith("sdb appeared: 64 MiB")
    detach(user, c2, "second", disk="sdb")
    c2.order("write sda 2 still there")
    assert c2.hear("block 2 ") == ["sda block 2 written: still there"]
    detach(user, c2, "first")


def test_its_machine_is_deleted(user: User) -> None:
    """The volume is free then, and the object of its attachment can go."""
    machine = VirtualMachine(user, "c3")
    machine.create(node=OTHER_NODE)
    user.apply(claim("leaves", block=True), volume_hotplug("c3-leaves", "leaves", "c3"))
    machine.await_up()
    attached(user, "c3-leaves")
    user.delete("vm/c3", seconds=PATIENCE)
    user.wait("jsonpath={.status.phase}=Pending", "vhp/c3-leaves", seconds=PATIENCE)
    user.delete("vhp/c3-leaves", "pvc/leaves", seconds=PATIENCE)


def _attachment_pod(user: User, name: str) -> str:
    return str(user.get(f"vhp/{name}")["status"].get("attachmentPod", ""))
