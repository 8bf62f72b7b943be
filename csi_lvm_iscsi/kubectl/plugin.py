#!/usr/bin/env python3
"""kubectl lvmiscsi: volumes attached to running VMs, what is attached where, and what is wrong.

It asks `kubectl`, hence with the login and the rights of whoever calls it. This file is all of it:
copied to a directory of PATH as `kubectl-lvmiscsi` it needs Python 3.9 or later and nothing else.
Called as `kubectl_complete-lvmiscsi` it tells kubectl's completion what can come next.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import math
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any

Json = dict[str, Any]
World = Mapping[str, Sequence[Json]]
"""Objects by what was asked for; without what the user may not list."""
Index = Mapping[tuple[str, ...], Sequence[Json]]
"""Objects by kind and by what they are of: there may be thousands of pods, and of claims."""

DRIVER = "csi-lvm-iscsi.github.io"
VERSION = f"{DRIVER}/v1alpha1"
HOTPLUGS = f"volumehotplugs.{DRIVER}"
HOSTS = f"storagenodes.{DRIVER}"
MACHINES, GUESTS = "virtualmachines.kubevirt.io", "virtualmachineinstances.kubevirt.io"
CLAIMS, VOLUMES = "persistentvolumeclaims", "persistentvolumes"
WORKLOADS = "daemonsets,deployments"
_AT_ONCE = 8
_REQUEST_SECONDS = 30
# So long a watch may take to tell what is there, and is paused before it is made anew.
_FIRST_SECONDS, _PAUSE_SECONDS = 10.0, 1.0
# A host's doctor bounds each of its checks to 45 s; that several hang is not waited for.
_DOCTOR_SECONDS = 120


class Failure(Exception):
    """What the user is told, in a sentence that says what to do."""

    def __init__(self, sentence: str, kind: str = "") -> None:
        super().__init__(sentence)
        self.kind = kind


_OTHER_CLUSTER = "or choose another cluster with --context"
_CLUSTER_INFO = f"See that `kubectl cluster-info` works, {_OTHER_CLUSTER}"
# kubectl tells what went wrong in words only: pkg/cmd/util/helpers.go, StandardErrorMessage.
_FAILURES = (
    (r"\(AlreadyExists\)", "", "Somebody made it just now: try again"),
    (r"\(Forbidden\)", "forbidden", "Ask an administrator of the cluster for that right"),
    (
        r"have a resource type|no matches for kind|could not find the requested resource",
        "absent",
        f"Install csi-lvm-iscsi in this cluster, or upgrade it, {_OTHER_CLUSTER}",
    ),
    (r"\(NotFound\)", "absent", ""),
    (
        r"connection to the server|[Uu]nable to connect|deadline exceeded|Client\.Timeout",
        "",
        _CLUSTER_INFO,
    ),
    (r"must be logged in|\(Unauthorized\)", "", "Log in to the cluster again"),
    (r"context .* does not exist", "", "`kubectl config get-contexts` shows those you have"),
)


def _failure(said: str) -> Failure:
    said = re.sub(r"(?m)^[EWI]\d{4} .*$", "", said).strip() or said  # without its log
    sentence = " ".join(said.splitlines()).rstrip("?. ") or "kubectl failed silently"
    sentence = sentence.removeprefix("error: ")
    for words, kind, advice in _FAILURES:
        if re.search(words, sentence):
            return Failure(f"{sentence}. {advice}".rstrip(". ") + ".", kind)
    return Failure(f"{sentence}.")


def _at(tree: Json, path: str) -> object:
    found: Any = tree
    for key in path.split():
        found = found.get(key) or {}
    return found


def text(tree: Json, path: str, default: str = "") -> str:
    """What an object has at a path, its keys with spaces between."""
    return str(_at(tree, path) or default)


def several(tree: Json, path: str) -> list[Json]:
    """The list that an object has at a path."""
    found = _at(tree, path)
    return found if isinstance(found, list) else []


def condition(tree: Json, kind: str) -> Json:
    """A condition of an object; empty where it has none of that kind."""
    found = (each for each in several(tree, "status conditions") if each["type"] == kind)
    return next(found, {})


def name_of(tree: Json) -> str:
    """The name of an object."""
    return text(tree, "metadata name")


def _in_a_line(said: str) -> str:
    return " ".join(said.split())


@dataclass(frozen=True)
class Kubectl:
    """kubectl, as the user is logged in."""

    flags: tuple[str, ...]
    """What the user said of cluster and namespace."""

    def run(
        self, *arguments: str, stdin: IO[str] | None = None, seconds: float
    ) -> tuple[int, str, str]:
        """Run it; gives its exit status, and what it printed and complained of."""
        argv, given = ["kubectl", *self.flags, *arguments], stdin or subprocess.DEVNULL
        try:
            ran = subprocess.run(
                argv, stdin=given, capture_output=True, text=True, timeout=seconds, check=False
            )
        except (FileNotFoundError, PermissionError):
            url = "https://kubernetes.io/docs/tasks/tools"
            raise Failure(f"There is no kubectl on the PATH: install it ({url}).") from None
        except subprocess.TimeoutExpired as expired:
            # Bytes, whatever was asked for (https://github.com/python/cpython/issues/87597).
            said = _in_a_line((expired.stderr or b"").decode(errors="replace"))
            late = f"`{shlex.join(argv)}` did not end within {seconds:g} s"
            words = ": ".join(filter(None, (late, said))).rstrip(".")
            raise Failure(f"{words}. {_CLUSTER_INFO}.") from None
        return ran.returncode, ran.stdout, ran.stderr

    def ask(self, *arguments: str, stdin: IO[str] | None = None) -> str:
        """Run it, for one short request."""
        limited = (f"--request-timeout={_REQUEST_SECONDS}s", *arguments)
        status, printed, complaint = self.run(*limited, stdin=stdin, seconds=2 * _REQUEST_SECONDS)
        if status:
            raise _failure(complaint)
        return printed

    def read(self, *arguments: str, stdin: IO[str] | None = None) -> Json:
        """Run what answers with an object."""
        answer: Json = json.loads(self.ask(*arguments, stdin=stdin))
        return answer

    def look(self, queries: Mapping[str, Sequence[str]], *needed: str) -> World:
        """List objects of several kinds at once. A kind that the cluster lacks has none; without
        the needed kinds there is nothing to tell."""

        def ask(what: str) -> list[Json] | None:
            try:
                return several(self.read("get", what, *queries[what], "--output=json"), "items")
            except Failure as failure:
                if failure.kind not in ("absent", "forbidden") or what in needed:
                    raise
                return [] if failure.kind == "absent" else None

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            answers = dict(zip(queries, pool.map(ask, queries)))
        return {what: found for what, found in answers.items() if found is not None}

    def states(self, found: Json, seconds: float) -> Iterator[Json]:
        """A VolumeHotplug as it is and as it changes, until it is gone.

        As a list that has it alone: `get NAME --watch` loses what changes between its get and its
        watch (kubectl, pkg/cmd/get/get.go: "suppress output"), and `--raw` the path in the URL of a
        server behind a proxy (up to 1.33: https://github.com/Shopify/krane/issues/892).
        """
        deadline = time.monotonic() + seconds
        name, namespace = name_of(found), text(found, "metadata namespace")
        it_alone = (f"--namespace={namespace}", f"--field-selector=metadata.name={name}")
        while True:
            listed = several(self.read("get", HOTPLUGS, *it_alone, "--output=json"), "items")
            if not listed:
                return
            yield listed[0]
            left = deadline - time.monotonic()
            if left <= 0:
                break
            for event in self._watch(*it_alone, seconds=left):
                if event["type"] == "DELETED":
                    return
                if event["type"] == "ERROR":  # what it was to begin with is too old by now
                    break
                yield event["object"]
            time.sleep(max(0.0, min(_PAUSE_SECONDS, deadline - time.monotonic())))
        shown = shlex.join(["kubectl", *self.flags, "get", HOTPLUGS, name])
        raise Failure(
            f"Not done after {seconds:g} s, but it goes on: `{shown}` shows how far it is. "
            f"Its last words: {_words(listed[0])}"
        )

    def _watch(self, *it_alone: str, seconds: float) -> Iterator[Json]:
        """What is there, and what becomes of it, until the connection or the time is at an end."""
        # kubectl is to end by itself, too: it may be a script, and go on without it.
        limited = (f"--request-timeout={math.ceil(seconds)}s", *it_alone)
        argv = ["kubectl", *self.flags, "get", HOTPLUGS, *limited, "--output=json"]
        argv += ["--watch", "--output-watch-events"]
        pipe = subprocess.PIPE
        with subprocess.Popen(argv, stdout=pipe, stderr=pipe, text=True) as process:
            # What is there it tells first. Of what has just gone it would tell nothing, for ever.
            first = threading.Timer(_FIRST_SECONDS, process.kill)
            timer = threading.Timer(seconds, process.kill)
            try:
                first.start()
                timer.start()
                for line in process.stdout or ():
                    first.cancel()
                    if line.endswith("\n"):  # else the connection was lost in the midst of it
                        yield json.loads(line)
                # Who was killed may have left a helper that holds stderr open.
                ended = process.wait() >= 0
                complaint = process.stderr.read() if process.stderr and ended else ""
            finally:
                first.cancel()
                timer.cancel()
                process.kill()
        # A connection that was lost is made anew; what the server refused it would refuse again.
        if "Error from server" in complaint and not re.search(r"\((Expired|Gone)\)", complaint):
            raise _failure(complaint)


# --- attach, detach ---


def hotplug_names(machine: str, claim: str) -> list[str]:
    """Names for the VolumeHotplug of a VM and a claim, the better one first: VM `db` and claim
    `prod-data` have theirs in common with VM `db-prod` and `data`. One has 253 characters at most.
    """
    plain = f"{machine}-{claim}"
    of_both = hashlib.sha256(f"{machine}/{claim}".encode()).hexdigest()[:12]
    unique = f"{plain[:240].rstrip('.-')}-{of_both}"
    return [plain, unique] if len(plain) <= 253 else [unique]


def guest_path(bus: str, serial: str) -> str:
    """Where udev in the guest puts a disk (systemd, 60-persistent-storage.rules, scsi_id)."""
    prefix = "virtio-" if bus == "virtio" else "scsi-0QEMU_QEMU_HARDDISK_"
    return f"/dev/disk/by-id/{prefix}{serial}"


def _attach(kubectl: Kubectl, asked: argparse.Namespace) -> int:
    spec: Json = {"claimName": asked.claim, "virtualMachineName": asked.vm}
    spec |= {"bus": asked.bus, "readOnly": asked.read_only}
    spec |= {"serial": asked.serial} if asked.serial else {}
    there, taken = _those_of(kubectl, asked)
    if there:
        found = there[0]
        detach = ["kubectl", "lvmiscsi", "detach", asked.claim, "--vm", asked.vm, "--wait"]
        _see_that_it_is(found, spec, f"`{shlex.join([*detach, *kubectl.flags])}`")
        print(f"VolumeHotplug {name_of(found)} is there already")
    else:
        names = hotplug_names(asked.vm, asked.claim)
        name = next((each for each in names if each not in taken), names[-1])
        wanted = {"apiVersion": VERSION, "kind": "VolumeHotplug", "metadata": {"name": name}}
        with tempfile.TemporaryFile("w+") as stdin:  # SIGPIPE is for stdout alone
            json.dump({**wanted, "spec": spec}, stdin)
            stdin.seek(0)
            found = kubectl.read("create", "--filename=-", "--output=json", stdin=stdin)
        print(f"VolumeHotplug {name} created")
    return _await_attached(kubectl, found, asked) if asked.wait else 0


def _those_of(kubectl: Kubectl, asked: argparse.Namespace) -> tuple[list[Json], set[str]]:
    """The VolumeHotplugs of the claim and the VM, and the names of all that there are. The first
    of them attaches the claim, the others do nothing."""
    listed = several(kubectl.read("get", HOTPLUGS, "--output=json"), "items")
    pair = {"claimName": asked.claim, "virtualMachineName": asked.vm}
    found = [each for each in listed if pair.items() <= each["spec"].items()]
    return sorted(found, key=_rank), set(map(name_of, listed))


def _rank(hotplug: Json) -> tuple[bool, str]:
    """Of several of one claim and VM the first is the oldest of those that stay."""
    leaves = "deletionTimestamp" in hotplug["metadata"]
    return leaves, text(hotplug, "metadata creationTimestamp")


def _see_that_it_is(found: Json, spec: Json, detach: str) -> None:
    wanted = {"serial": "", **spec}
    has = {"bus": "scsi", "readOnly": False, "serial": "", **found["spec"]}
    if other := [f"{key} {json.dumps(has[key])}" for key in wanted if has[key] != wanted[key]]:
        words = f"There is a VolumeHotplug {name_of(found)} already, but with {', '.join(other)}"
        raise Failure(f"{words}: detach it first ({detach}).")
    if text(found, "metadata deletionTimestamp"):
        raise Failure(f"It is being detached: attach it again when that is done ({detach}).")


def _await_attached(kubectl: Kubectl, found: Json, asked: argparse.Namespace) -> int:
    for state in _told(kubectl.states(found, asked.timeout)):
        phase = text(state, "status phase")
        # Where KubeVirt refused, it is asked again: that may come to be like all the rest.
        if phase == "Failed" and text(condition(state, "Attached"), "reason") != "Refused":
            return 1
        if phase == "Attached":
            where = text(state, "status node", "its node")
            print(f"{asked.claim} is attached to {asked.vm} on {where}{_as_what(state)}")
            return 0
    raise Failure("The VolumeHotplug was deleted meanwhile: attach the claim again.")


def _as_what(hotplug: Json) -> str:
    """How the guest has it. Of a disk that somebody attached in another way, or that is the
    machine's own, neither serial number nor bus is known: the condition says what is."""
    serial, why = text(hotplug, "status serial"), condition(hotplug, "Attached")
    if serial and text(why, "reason") == "Attached":
        return f"; the guest has it as {guest_path(text(hotplug, 'spec bus'), serial)}"
    return f". {why['message']}" if text(why, "message") else ""


def _told(states: Iterable[Json]) -> Iterator[Json]:
    """Tell what each state waits for, when that changes."""
    before = ""
    for state in states:
        words = _words(state)
        if words != before:
            print(words, file=sys.stderr, flush=True)
        before = words
        yield state


def _phase(hotplug: Json) -> str:
    """As it is, also where no operator is there to write it."""
    leaves = text(hotplug, "metadata deletionTimestamp")
    return "Detaching" if leaves else text(hotplug, "status phase", "Pending")


def _words(hotplug: Json) -> str:
    """The phase, and what keeps it there: what its conditions say."""
    phase = _phase(hotplug)
    if not (hotplug.get("status") or phase == "Detaching"):
        return "Pending: the operator of csi-lvm-iscsi has not seen it yet"
    waits = [each for each in several(hotplug, "status conditions") if each["status"] != "True"]
    if phase != "Attached":  # that the VM cannot move to another node is nothing to wait for
        waits = [each for each in waits if each["type"] != "Migratable"]
    reasons = dict.fromkeys(each.get("message") or each["reason"] for each in waits)
    return ": ".join(filter(None, (phase, "; ".join(reasons))))


# Of these the operator lets go, and the disk stays (operator/hotplug/detaching.py).
_LEFT = {
    "AttachedByOthers": "somebody else attached it, in another way",
    "PartOfVirtualMachine": "it is part of the VM",
}


def _detach(kubectl: Kubectl, asked: argparse.Namespace) -> int:
    found, _ = _those_of(kubectl, asked)
    if not found:
        print(f"Nothing to detach: no VolumeHotplug attaches {asked.claim} to {asked.vm}")
    for each in found:
        if asked.force:
            force = '--patch={"spec":{"force":true}}'
            kubectl.ask("patch", HOTPLUGS, name_of(each), "--type=merge", force)
        _delete(kubectl, name_of(each))
        print(f"VolumeHotplug {name_of(each)} deleted: it goes when the volume is detached")
    return _await_detached(kubectl, found, asked) if found and asked.wait else 0


def _delete(kubectl: Kubectl, name: str) -> None:
    words = ("delete", HOTPLUGS, name)
    said = kubectl.ask(*words, "--wait=false", "--ignore-not-found")
    if "is cancelled" in said:  # and it exits with 0
        by_hand = shlex.join(["kubectl", *kubectl.flags, *words])
        raise Failure(
            "kubectl asked whether to delete it, as your kuberc has `delete` with `interactive`, "
            f"and did not: `{by_hand}`."
        )


def _await_detached(kubectl: Kubectl, found: Sequence[Json], asked: argparse.Namespace) -> int:
    left, events = "", []
    for each in found:
        last = each
        for state in _told(kubectl.states(each, asked.timeout)):
            last = state
        left = left or _LEFT.get(text(condition(last, "Attached"), "reason"), "")
        events.append(_events(kubectl, each))
    # What the operator said when it let the object go.
    last_words = [each for some in events for each in some or ()]
    told = (text(each, "message") for each in last_words if each["reason"] == "DetachUnfinished")
    if unfinished := next(told, ""):
        print(f"{asked.claim} may still be in {asked.vm}: {unfinished}")
    elif left:
        print(f"{asked.claim} stays in {asked.vm}: {left}")
    else:
        unseen = ", if no Event says otherwise: you may not list events" if None in events else ""
        print(f"{asked.claim} is detached from {asked.vm}{unseen}")
    return int(bool(unfinished or left))


def _events(kubectl: Kubectl, of: Json) -> Sequence[Json] | None:
    """Its Events; None where the user may not list them."""
    selected = f"--field-selector=involvedObject.uid={text(of, 'metadata uid')}"
    return kubectl.look({"events": (selected,)}).get("events")


# --- attachments ---


@dataclass(frozen=True)
class Use:
    """Where a claim is used: by a pod or a VM, or by nobody that can be seen."""

    node: str = ""
    used_by: str = ""
    state: str = ""
    device: str = ""
    serial: str = ""
    message: str = ""


_WIDE = ("device", "serial", "message", "persistent_volume")


def volume_group_hash(uuid: str) -> str:
    """The first part of the ids of the volumes in a volume group, as the driver makes it."""
    return hashlib.sha256(uuid.encode()).hexdigest()[:8]


def _attachments(kubectl: Kubectl, asked: argparse.Namespace) -> int:
    kinds = (CLAIMS, "pods", HOTPLUGS, GUESTS, VOLUMES, "volumeattachments", HOSTS)
    where = ("--all-namespaces",) if asked.all_namespaces else ()
    world = kubectl.look(dict.fromkeys((*kinds, "storageclasses"), where), CLAIMS)
    if unseen := [what for what in kinds if what not in world]:
        print(f"Shown without what you may not list: {', '.join(unseen)}", file=sys.stderr)
    index, sees = _index(world), "volumeattachments" in world
    rows = [row for claim in _claims(world, asked) for row in _rows(claim, index, sees=sees)]
    rows.sort(key=lambda row: (row["namespace"], row["claim"], row["node"]))
    if asked.only and not rows:
        raise Failure(f"There is no claim {asked.only} here: name its namespace with -n.")
    if asked.output == "json":
        print(json.dumps({"attachments": rows}, indent=1))
    elif rows:
        columns = list(rows[0])
        if asked.output != "wide":
            columns = [each for each in columns if each not in _WIDE]
            rows = [{**row, "volume": _shortened(row["volume"])} for row in rows]
        headers = [] if asked.no_headers else [[each.replace("_", " ").upper() for each in columns]]
        _print_table(headers + [[row[column] or "<none>" for column in columns] for row in rows])
    else:
        print("No claims of csi-lvm-iscsi here; -A looks at all namespaces", file=sys.stderr)
    return 0


def _shortened(volume: str) -> str:
    """Of the provisioner's names, pvc- and a UUID, so much as tells it from others."""
    return re.sub(r"(pvc-[0-9a-f]{8})-[0-9a-f-]{27}$", r"\1", volume)


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    rows = [[_in_a_line(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        print("   ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def _claims(world: World, asked: argparse.Namespace) -> Iterator[Json]:
    """The claims to show, each with its volume; a volume whose claim is gone looks like one."""
    volumes = {name_of(each): each for each in world.get(VOLUMES, ())}
    plugged = {_key(each, text(each, "spec claimName")) for each in world.get(HOTPLUGS, ())}
    # Of a class that waits for the first pod, a claim tells no provisioner before.
    classes = _our_classes(world)
    claims = list(world[CLAIMS])
    bound = {text(claim, "spec volumeName") for claim in claims}
    if asked.all_namespaces:
        claims += [_left(each) for name, each in volumes.items() if name not in bound]
    for claim in claims:
        volume = volumes.get(text(claim, "spec volumeName"), {})
        by = text(claim, "metadata annotations volume.kubernetes.io/storage-provisioner")
        ours = DRIVER in (by, text(volume, "spec csi driver"))
        ours |= text(claim, "spec storageClassName") in classes
        shown = ours or _key(claim, name_of(claim)) in plugged
        if name_of(claim) == asked.only if asked.only else shown:
            yield {**claim, "volume": volume}


def _our_classes(world: World) -> set[str]:
    classes = world.get("storageclasses", ())
    return {name_of(each) for each in classes if each["provisioner"] == DRIVER}


def _left(volume: Json) -> Json:
    status = {"phase": text(volume, "status phase"), "capacity": volume["spec"]["capacity"]}
    metadata = volume["spec"].get("claimRef", {})
    return {"metadata": metadata, "spec": {"volumeName": name_of(volume)}, "status": status}


def _key(of: Json, claim: str) -> tuple[str, str]:
    return text(of, "metadata namespace"), claim


def _index(world: World) -> Index:
    index: defaultdict[tuple[str, ...], list[Json]] = defaultdict(list)
    for kind in (HOTPLUGS, GUESTS, "pods"):
        for each in world.get(kind, ()):
            for name in dict.fromkeys(_claims_of(each)):
                index[(kind, *_key(each, name))].append(each)
    for each in world.get("volumeattachments", ()):
        index["volumeattachments", text(each, "spec source persistentVolumeName")].append(each)
    for each in world.get(HOSTS, ()):
        for group in several(each, "spec volumeGroups"):
            index[HOSTS, volume_group_hash(group["uuid"])].append(each)
    return index


def _claims_of(user: Json) -> Iterator[str]:
    """The claims that a VolumeHotplug, pod or VM names: by their names, as DataVolumes of these, or
    as what was made for a volume of the pod."""
    yield text(user, "spec claimName")
    for volume in several(user, "spec volumes"):
        yield text(volume, "persistentVolumeClaim claimName") or text(volume, "dataVolume name")
        if "ephemeral" in volume:
            yield f"{name_of(user)}-{volume['name']}"


def _rows(claim: Json, index: Index, *, sees: bool) -> Iterator[dict[str, str]]:
    """A row for each user, for each node that has the volume without one; or one for the claim.
    `sees`: what is attached to nodes."""
    volume = text(claim, "spec volumeName")
    attachments = index.get(("volumeattachments", volume), ()) if volume else ()
    attached = {text(each, "spec nodeName"): each for each in attachments}
    uses = list(_uses(claim, index))
    uses += [Use(node) for node in attached if node not in {use.node for use in uses}]
    handle = text(claim, "volume spec csi volumeHandle")
    requested = text(claim, "spec resources requests storage")
    hosts = index.get((HOSTS, handle[:8])) or [{"metadata": {"name": "<unknown>"}}]
    phase = text(claim, "status phase")
    for use in uses or [Use()]:
        idle = ("Waiting" if use.used_by else "Available") if sees else "<unknown>"
        state, message = _state(attached.get(use.node), idle if phase == "Bound" else phase)
        yield {
            "namespace": text(claim, "metadata namespace"),
            "claim": name_of(claim),
            "volume": handle or volume,
            "size": text(claim, "status capacity storage", requested),
            "storage_host": name_of(hosts[0]) if volume else "",
            **asdict(replace(use, state=use.state or state, message=use.message or message)),
            "persistent_volume": volume,
        }


def _state(attachment: Json | None, idle: str) -> tuple[str, str]:
    """How far it is, in a word, and what is wrong."""
    if not attachment:
        return idle, ""
    leaves = text(attachment, "metadata deletionTimestamp")
    state = "Attached" if text(attachment, "status attached") else "Attaching"
    return "Detaching" if leaves else state, _error_of(attachment)


def _error_of(attachment: Json) -> str:
    detaching = text(attachment, "status detachError message")
    return detaching or text(attachment, "status attachError message")


def _uses(claim: Json, index: Index) -> Iterator[Use]:
    """Who has the claim, or wants it: VMs, and pods other than those that stand for these."""
    key = _key(claim, name_of(claim))
    machines: dict[str, Use] = {}
    for each in sorted(index.get((HOTPLUGS, *key), ()), key=_rank):
        machines.setdefault(text(each, "spec virtualMachineName"), _use_of(each))
    for guest in index.get((GUESTS, *key), ()):
        use = Use(text(guest, "status nodeName"), f"vm/{name_of(guest)}")
        machines.setdefault(name_of(guest), use)
    yield from machines.values()
    nodes = {use.node for use in machines.values()}
    for pod in index.get(("pods", *key), ()):
        node = text(pod, "spec nodeName")
        ended = text(pod, "status phase") in ("Succeeded", "Failed")
        made_for = text(pod, "metadata labels kubevirt.io")
        # While a VM moves it has one on the node where it will be, too.
        stands_for = made_for and (node in nodes or (machines and made_for == "hotplug-disk"))
        if not ended and not stands_for:
            yield Use(node, f"pod/{name_of(pod)}")


def _use_of(hotplug: Json) -> Use:
    phase = _phase(hotplug)
    return Use(
        node=text(hotplug, "status node"),
        used_by=f"vm/{text(hotplug, 'spec virtualMachineName')}",
        state=phase,
        device=text(hotplug, "status device"),
        serial=text(hotplug, "status serial"),
        message="" if phase == "Attached" else _words(hotplug),
    )


# --- doctor ---


@dataclass(frozen=True)
class Finding:
    """What a check found, as `csi-lvm-iscsi doctor` has it: ok, warning or error."""

    check: str
    level: str
    found: str
    fix: str = ""


@dataclass(frozen=True)
class Examined:
    """What a role's own doctor says of its host."""

    host: str
    role: str
    findings: Sequence[Finding]
    facts: Mapping[str, str] = field(default_factory=dict)


Wrong = Iterator[tuple[str, str, str]]
"""Level, what was found, fix."""


def _doctor(kubectl: Kubectl, asked: argparse.Namespace) -> int:
    everywhere = "--all-namespaces"
    ours = (everywhere, "--selector=app.kubernetes.io/name=csi-lvm-iscsi")
    of_claims = (everywhere, "--field-selector=involvedObject.kind=PersistentVolumeClaim")
    nowhere = dict.fromkeys(("nodes", "storageclasses", "volumeattachments", HOSTS), ())
    anywhere = dict.fromkeys((CLAIMS, HOTPLUGS), (everywhere,))
    queries = {"pods": ours, WORKLOADS: ours, "events": of_claims, **nowhere, **anywhere}
    world = kubectl.look(queries)
    if "pods" in world and not world["pods"]:
        raise Failure(f"This cluster has no csi-lvm-iscsi: install it, {_OTHER_CLUSTER}.")
    ready = [each for each in world.get("pods", ()) if _is_ready(each)]
    asks = [each for each in ready if _role(each) in ("storage", "node")]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        hosts = list(pool.map(lambda pod: _examine(kubectl, pod, world), asks))
    hosts.sort(key=lambda host: (host.host, host.role))
    cluster = [*_examine_cluster(world), *_same_facts(hosts)]
    if asked.output == "json":
        told = {"cluster": list(map(asdict, cluster)), "hosts": list(map(asdict, hosts))}
        print(json.dumps(told, indent=1))
    else:
        _print_findings("the cluster", cluster)
        for host in hosts:
            _print_findings(f"{host.host} (role {host.role})", host.findings)
    everything = [*cluster, *(finding for host in hosts for finding in host.findings)]
    return int(any(finding.level == "error" for finding in everything))


def _print_findings(of: str, findings: Sequence[Finding]) -> None:
    counts = Counter(finding.level for finding in findings)
    print(f"{of}: " + ", ".join(f"{counts[level]} {level}" for level in ("ok", "warning", "error")))
    wrong = [finding for finding in findings if finding.level != "ok"]
    width = max((len(finding.check) for finding in wrong), default=0)
    for each in wrong:
        print(f"  {each.level:9}{each.check:{width + 2}}{_in_a_line(each.found)}")
        print(f"{'':{13 + width}}fix: {each.fix}")


def _role(of: Json) -> str:
    return text(of, "metadata labels app.kubernetes.io/component")


def _is_ready(pod: Json) -> bool:
    return text(condition(pod, "Ready"), "status") == "True"


def _describe(kind: str, of: Json) -> str:
    namespace = text(of, "metadata namespace")
    where = f"--namespace {namespace} " if namespace else ""
    return f"kubectl {where}describe {kind} {name_of(of)}"


def _examine(kubectl: Kubectl, pod: Json, world: World) -> Examined:
    """Ask the doctor in a role's pod."""
    role, host = _role(pod), text(pod, "spec nodeName")
    doctor = ["csi-lvm-iscsi", "doctor", role, "--output=json"]
    doctor += [f"--node-id={host}"] if role == "node" else _volume_groups(host, world)
    where = (f"--namespace={text(pod, 'metadata namespace')}", name_of(pod), f"--container={role}")
    try:
        # It exits with 1 where it finds an error: what it printed counts.
        _, printed, complaint = kubectl.run("exec", *where, "--", *doctor, seconds=_DOCTOR_SECONDS)
        if not printed.startswith("{"):
            raise _failure(complaint or printed)
        told = json.loads(printed)
    except (Failure, ValueError) as reason:
        unasked = f"could not be asked: {reason}"
        return Examined(host, role, [Finding("doctor", "error", unasked, _describe("pod", pod))])
    keys = ("check", "level", "found", "fix")  # and what a newer doctor has beside these
    findings = [Finding(*(text(each, key) for key in keys)) for each in several(told, "findings")]
    return Examined(host, role, findings, told.get("facts", {}))


def _volume_groups(host: str, world: World) -> list[str]:
    """Which volume groups of a storage host its doctor is to look at: by itself it would take one
    of thick volumes that has none yet for a stranger's."""
    of_host = [each for each in world.get(HOSTS, ()) if name_of(each) == host]
    groups = [group for each in of_host for group in several(each, "spec volumeGroups")]
    return [f"--volume-group={text(group, 'name')}" for group in groups]


def _same_facts(hosts: Sequence[Examined]) -> Iterator[Finding]:
    """What clones of one image share, and must not."""
    for fact, fix in {
        "machineId": "rm /etc/machine-id && systemd-machine-id-setup  # on all of them but one",
        "initiatorName": "csi-lvm-iscsi doctor node --node-id NODE  # on each of them",
    }.items():
        owners: dict[str, set[str]] = {}
        for host in hosts:
            owners.setdefault(host.facts.get(fact, ""), set()).add(host.host)
        for value, same in owners.items():
            if value and len(same) > 1:
                who = ", ".join(sorted(same))
                yield Finding(fact, "error", f"{who} have the same one: {value}", fix)


def _examine_cluster(world: World) -> Iterator[Finding]:
    checks: Mapping[str, tuple[Callable[[World], Wrong], Sequence[str]]] = {
        "pods": (_pods, ["pods"]),
        "hosts": (_without_pods, ["pods", WORKLOADS, "nodes"]),
        "StorageNodes": (_storage_nodes, [HOSTS, "pods"]),
        "claims": (_pending, [CLAIMS, "storageclasses", "events"]),
        "attachments": (_refused, ["volumeattachments"]),
        "VolumeHotplugs": (_waiting, [HOTPLUGS]),
    }
    for name, (check, needs) in checks.items():
        if unseen := [what for what in needs if what not in world]:
            found = f"not looked at, as you may not list {', '.join(unseen)}"
            fix = f"kubectl auth can-i list {unseen[0]} --all-namespaces"
            yield Finding(name, "error", found, fix)
        else:
            wrong = [Finding(name, *each) for each in check(world)]
            yield from wrong or [Finding(name, "ok", "nothing is wrong")]


def _pods(world: World) -> Wrong:
    for pod in world["pods"]:
        phase = text(pod, "status phase")
        if phase == "Succeeded" or _is_ready(pod):
            continue
        containers = several(pod, "status containerStatuses")
        waits = [text(each, "state waiting reason") for each in containers]
        why = ", ".join(filter(None, waits)) or phase
        found = f"{name_of(pod)} on {text(pod, 'spec nodeName', 'no node')} is not ready: {why}"
        # One that failed was evicted, or another has taken its place.
        yield "warning" if phase == "Failed" else "error", found, _describe("pod", pod)


def _without_pods(world: World) -> Wrong:
    """Nodes that should have a role and have not; Deployments without a pod."""
    for each in world[WORKLOADS]:
        pods = [pod for pod in world["pods"] if _role(pod) == _role(each)]
        there = {text(pod, "spec nodeName") for pod in pods}
        if each["kind"] == "Deployment":
            if not pods:
                yield "error", f"{name_of(each)} has no pod", _describe("deployment", each)
            continue
        wanted = each["spec"]["template"]["spec"].get("nodeSelector", {}).items()
        for node in world["nodes"]:
            fits = wanted <= node["metadata"].get("labels", {}).items()
            if fits and name_of(node) not in there:
                found = f"{name_of(node)} has no pod of {name_of(each)}"
                yield "error", found, _describe("daemonset", each)


def _storage_nodes(world: World) -> Wrong:
    known = set(map(name_of, world[HOSTS]))
    for pod in world["pods"]:
        host = text(pod, "spec nodeName")
        if _role(pod) == "storage" and host and host not in known:
            where = f"--namespace {text(pod, 'metadata namespace')}"
            operator = "--selector=app.kubernetes.io/component=operator"
            found = f"{host} has a storage pod and no StorageNode: its volumes count as deleted"
            yield "error", found, f"kubectl {where} logs {operator}  # it makes StorageNodes"
    for each in world[HOSTS]:
        if text(each, "spec retired"):
            continue
        conditions = several(each, "status conditions")
        if not conditions:
            found = f"{name_of(each)} has no status yet: its operator has not seen it"
            yield "error", found, _describe("storagenode", each)
        for condition in conditions:
            bad = "True" if condition["type"] == "VolumeGroupConflict" else "False"
            if condition["status"] == bad:
                level = "warning" if condition["type"] == "PoolsHealthy" else "error"
                found = f"{name_of(each)}: {condition['message'] or condition['reason']}"
                yield level, found, _describe("storagenode", each)


def _pending(world: World) -> Wrong:
    ours = _our_classes(world)
    events = {text(each, "involvedObject uid"): each for each in sorted(world["events"], key=_when)}
    for claim in world[CLAIMS]:
        event = events.get(text(claim, "metadata uid"), {})
        pending = text(claim, "status phase") == "Pending"
        ours_too = text(claim, "spec storageClassName") in ours
        # Where its class waits for a pod, nothing is wrong.
        if not (pending and ours_too) or event.get("reason") == "WaitForFirstConsumer":
            continue
        words = text(event, "reason", "no event says why"), text(event, "message")
        why = ": ".join(filter(None, words))
        found = f"{'/'.join(_key(claim, name_of(claim)))} is Pending: {why}"
        level = "error" if event.get("type") == "Warning" else "warning"
        yield level, found, _describe("pvc", claim)


def _when(event: Json) -> str:
    """When it was last seen: newer reporters leave the first of these times out."""
    made = text(event, "metadata creationTimestamp")
    return text(event, "lastTimestamp") or text(event, "eventTime", made)


def _refused(world: World) -> Wrong:
    for each in world["volumeattachments"]:
        error = _error_of(each)
        if error and text(each, "spec attacher") == DRIVER:
            volume, node = (
                text(each, "spec source persistentVolumeName"),
                text(each, "spec nodeName"),
            )
            yield "error", f"{volume} and {node}: {error}", _describe("volumeattachment", each)


def _waiting(world: World) -> Wrong:
    for each in world[HOTPLUGS]:
        phase = _phase(each)
        if phase != "Attached":
            level = "error" if phase == "Failed" else "warning"
            found = f"{'/'.join(_key(each, name_of(each)))} is {_words(each)}"
            yield level, found, _describe("volumehotplug", each)


# --- command line, completion ---


def _completion(_: Kubectl, __: argparse.Namespace) -> int:
    here = Path(sys.argv[0]).absolute()
    beside = here.with_name("kubectl_complete-lvmiscsi")
    print("# kubectl asks a program of this name what can come next. As one who may write there:")
    print("#   kubectl lvmiscsi completion | sudo sh")
    print("# The shell must have kubectl's own completion: kubectl completion --help")
    print(f"ln -sf {shlex.quote(str(here))} {shlex.quote(str(beside))}")
    return 0


def _seconds(given: str) -> float:
    """Plain seconds, or a duration as kubectl takes them: 90s, 5m, 1h30m."""
    parts = re.findall(r"([0-9]+(?:\.[0-9]+)?)([smh]|$)", given)
    seconds = sum(float(number) * {"m": 60, "h": 3600}.get(unit, 1) for number, unit in parts)
    if not parts or "".join(map("".join, parts)) != given or seconds > threading.TIMEOUT_MAX:
        raise argparse.ArgumentTypeError(f"{given!r} is no duration, like 90, 90s or 5m")
    return seconds


def _bare(given: str) -> str:
    """A name, also where it is given as kubectl and the table here show it: pvc/data, vm/c2."""
    return re.sub(r"^(pvc|persistentvolumeclaim|vm|virtualmachine)s?/", "", given)


_WORDS: Mapping[str, Json] = {
    "--namespace": {"metavar": "NAME", "help": "instead of the context's"},
    "--context": {"metavar": "NAME", "help": "of kubectl's: which cluster, and as whom"},
    "--cluster": {"metavar": "NAME", "help": "instead of the context's"},
    "--user": {"metavar": "NAME", "help": "instead of the context's"},
    "--as": {"metavar": "NAME", "help": "whom to impersonate"},
    "--kubeconfig": {"metavar": "FILE", "help": "instead of kubectl's own"},
    "claim": {"metavar": "CLAIM", "type": _bare, "help": "a PersistentVolumeClaim"},
    "only": {
        "metavar": "CLAIM",
        "nargs": "?",
        "type": _bare,
        "help": "no other, and whatever its driver",
    },
    "--vm": {
        "metavar": "VM",
        "required": True,
        "type": _bare,
        "help": "a VirtualMachine of the same namespace",
    },
    "--bus": {"default": "scsi", "help": "of the disk in the VM (default: %(default)s)"},
    "--read-only": {"action": "store_true", "help": "the VM may not write"},
    "--serial": {"metavar": "TEXT", "help": "of the disk in the VM (default: the volume's own)"},
    "--force": {"action": "store_true", "help": "though the guest holds it: it loses writes"},
    "--wait": {"action": "store_true", "help": "until it is done, and tell what it waits for"},
    "--timeout": {
        "metavar": "SECONDS",
        "type": _seconds,
        "default": 300.0,
        "help": "of --wait, also like 90s or 5m (default: 300)",
    },
    "--all-namespaces": {"action": "store_true", "help": "and volumes whose claim is gone"},
    "--output": {"help": "in another form; json is for programs"},
    "--no-headers": {"action": "store_true", "help": "leave the first line out"},
}
_SHORT = {"--namespace": "-n", "--all-namespaces": "-A", "--output": "-o"}
_PASSED_ON = "--namespace --context --cluster --user --as --kubeconfig"
_VERBS = {
    "attach": (
        _attach,
        "Attach a claim to a VM. One that is stopped gets it when it starts.",
        "claim --vm --bus=scsi,virtio --read-only --serial --wait --timeout",
    ),
    "detach": (
        _detach,
        "Take a claim from a VM. Unmount it in the guest before.",
        "claim --vm --force --wait --timeout",
    ),
    "attachments": (
        _attachments,
        "What is attached where. A row for each pod, VM or node that has or awaits a claim.",
        "only --all-namespaces --output=wide,json --no-headers",
    ),
    "doctor": (
        _doctor,
        "What is wrong in the cluster and on its hosts. Exit status 1 where there is an error.",
        "--output=json",
    ),
    "completion": (_completion, "Teach kubectl to complete all this. Prints a script.", ""),
}
"""What each does, what it is for, and the words that it takes: values of _WORDS, with choices."""


def _add(parser: argparse.ArgumentParser, words: str) -> None:
    for word in words.split():
        name, _, choices = word.partition("=")
        settings = {**_WORDS[name], **({"choices": choices.split(",")} if choices else {})}
        parser.add_argument(*([_SHORT[name]] if name in _SHORT else []), name, **settings)


def _passed_on() -> argparse.ArgumentParser:
    """A parser of those flags of kubectl's that it is given, before the verb or after it. To the
    completion it is no error that a value is missing."""
    parser = argparse.ArgumentParser(
        add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS, exit_on_error=False
    )
    _add(parser, _PASSED_ON)
    return parser


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kubectl lvmiscsi",
        allow_abbrev=False,  # of --fo, too
        parents=[_passed_on()],
        description="Volumes of the CSI driver csi-lvm-iscsi, with your own login and rights.",
        epilog="VERB --help tells more. To begin with: kubectl lvmiscsi attachments",
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, (run, what_for, words) in _VERBS.items():
        short = what_for.partition(". ")[0]
        verb = verbs.add_parser(
            name, parents=[_passed_on()], help=short, description=what_for, allow_abbrev=False
        )
        verb.set_defaults(run=run)
        _add(verb, words)
    return parser


def _kubectl(asked: argparse.Namespace) -> Kubectl:
    given = vars(asked)
    names = [flag[2:] for flag in _PASSED_ON.split()]
    return Kubectl(tuple(f"--{name}={given[name]}" for name in names if name in given))


def complete(words: Sequence[str]) -> list[str]:
    """What can stand in place of the last word."""
    *before, word = words or [""]
    long = {short: flag for flag, short in _SHORT.items()}
    before = [long.get(each, each) for each in before]
    taking = {flag for flag, settings in _WORDS.items() if "action" not in settings}
    after = zip(["", *before], before)
    plain = [each for last, each in after if each[:1] != "-" and last not in taking]
    verb = plain[0] if plain else ""
    takes = [*(_VERBS[verb][2] if verb in _VERBS else "").split(), *_PASSED_ON.split()]
    flag, equals, value = word.partition("=")
    whole = before
    if not equals:
        flag, value = before[-1] if before else "", word
        whole = before[:-1] if flag in taking else before
    asked, _ = _passed_on().parse_known_args(whole)
    if flag in taking:
        found = _values(flag, takes, _kubectl(asked))
    elif word[:1] != "-" and not verb:
        found = [
            f"{name}\t{what_for.partition('. ')[0]}" for name, (_, what_for, _) in _VERBS.items()
        ]
    elif word[:1] != "-" and not plain[1:] and takes[0] in ("claim", "only"):
        found = _names(_kubectl(asked), CLAIMS)
    else:
        flags = [each.partition("=")[0] for each in takes if each[:1] == "-"]
        helps = [_WORDS[each]["help"].partition(" (default")[0] for each in flags]
        found = [f"{each}\t{what_for}" for each, what_for in zip(flags, helps)]
    return [each for each in found if each.startswith(value)]


def _values(flag: str, takes: Sequence[str], kubectl: Kubectl) -> list[str]:
    kinds = {"--vm": MACHINES, "--namespace": "namespaces"}
    if flag in kinds:
        return _names(kubectl, kinds[flag])
    if flag == "--context":
        return kubectl.ask("config", "get-contexts", "--output=name").split()
    choices = dict(each.split("=") for each in takes if "=" in each)
    return choices.get(flag, "").replace(",", " ").split()


def _names(kubectl: Kubectl, kind: str) -> list[str]:
    return [each.rpartition("/")[2] for each in kubectl.ask("get", kind, "--output=name").split()]


def _complete(words: Sequence[str]) -> None:
    """Answer as kubectl wants it (pkg/cmd/plugin/plugin_completion.go): a word a line, and after
    them what the shell shall do: not offer files (4, cobra's ShellCompDirectiveNoFileComp), but
    where a file is to be named."""
    with contextlib.suppress(Failure, argparse.ArgumentError):  # nobody could read a message here
        for each in complete(words):
            print(each)
    *_, before, word = ("", "", *words)
    is_file = before == "--kubeconfig" or word.startswith("--kubeconfig=")
    print(":0" if is_file else ":4")


def main() -> None:
    """Run the plugin."""
    # `| head` ends it, and is no error. So does Ctrl-C, at once: threads may wait for kubectl.
    for number in (signal.SIGPIPE, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # in order with what is told on stderr
    if Path(sys.argv[0]).name.startswith("kubectl_complete"):
        _complete(sys.argv[1:])
        return
    asked = _parser().parse_args()
    try:
        sys.exit(asked.run(_kubectl(asked), asked))
    except Failure as failure:
        sys.exit(f"error: {failure}")


if __name__ == "__main__":
    main()
