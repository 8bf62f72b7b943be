"""Stands for kubectl: plays the cluster of cluster.json beside it, and notes in calls.jsonl how it
was called. What it complains of are kubectl 1.37's own words."""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

_HERE = Path(__file__).parent
_CALLS = _HERE / "calls.jsonl"
_GROUP = "csi-lvm-iscsi.github.io"


def fail(said: str) -> NoReturn:
    sys.exit(said)


def earlier(word: str) -> int:
    """How many calls before this one had this word in their arguments."""
    calls = _CALLS.read_text().splitlines()[:-1]
    return sum(word in call for call in calls)


def listed(cluster: dict[str, Any], asked: argparse.Namespace, kind: str) -> dict[str, Any]:
    if kind in cluster["forbidden"]:
        fail(
            f'Error from server (Forbidden): {kind} is forbidden: User "dev" cannot list resource '
            f'"{kind}" in API group "" at the cluster scope'
        )
    if kind not in cluster["objects"]:
        name, _, group = kind.partition(".")
        fail(f'''error: the server doesn't have a resource type "{name}" in group "{group}"''')
    found = cluster["objects"][kind]
    namespace = asked.namespace or "default"
    if not asked.all_namespaces:
        found = [each for each in found if each["metadata"].get("namespace") in (None, namespace)]
    if asked.selector:
        key, _, value = asked.selector.partition("=")
        found = [each for each in found if each["metadata"].get("labels", {}).get(key) == value]
    if asked.field_selector:
        key, _, value = asked.field_selector.removeprefix("involvedObject.").partition("=")
        found = [each for each in found if each["involvedObject"].get(key) == value]
    return {"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": found}


def get(cluster: dict[str, Any], asked: argparse.Namespace) -> None:
    kind, *names = asked.words
    if not names:
        answer = listed(cluster, asked, kind)
    else:
        (answer,) = [
            each for each in cluster["objects"][kind] if each["metadata"]["name"] == names[0]
        ]
    if asked.output == "name":
        for each in answer["items"]:
            print(f"{kind}/{each['metadata']['name']}")
    else:
        print(json.dumps(answer, indent=4))


def followed(cluster: dict[str, Any], asked: argparse.Namespace) -> None:
    """Each list of one object and each watch of it has its turn. The last list stays. A watch tells
    first what is there; beyond those that are given it hears nothing until its time is over. A
    watch that is text is what kubectl complains of, an event that is text is all that came of one.
    """
    lists, turn = cluster["lists"], earlier("--watch")
    seen = earlier("--field-selector=metadata.name=") - turn
    if not asked.watch:
        items = lists[min(seen, len(lists) - 1)]
        print(json.dumps({"kind": "List", "metadata": {"resourceVersion": ""}, "items": items}))
        return
    there = [{"type": "ADDED", "object": each} for each in lists[min(seen, len(lists)) - 1]]
    heard = cluster["watches"][turn] if turn < len(cluster["watches"]) else None
    if isinstance(heard, str):
        fail(heard)
    for event in [*(there if not cluster["silent"] else ()), *(heard or ())]:
        print(event if isinstance(event, str) else f"{json.dumps(event)}\n", end="", flush=True)
    if heard is None:
        time.sleep(int(asked.request_timeout.removesuffix("s")))


def create(cluster: dict[str, Any], asked: argparse.Namespace) -> None:
    made = json.load(sys.stdin)
    (_HERE / "created.json").write_text(json.dumps(made))
    name, kind = made["metadata"]["name"], f"volumehotplugs.{_GROUP}"
    if kind not in cluster["objects"]:
        fail(
            f'error: resource mapping not found for name: "{name}" namespace: "" from "STDIN": '
            f'no matches for kind "VolumeHotplug" in version "{_GROUP}/v1alpha1"\n'
            "ensure CRDs are installed first"
        )
    if any(each["metadata"]["name"] == name for each in cluster["objects"][kind]):
        fail(
            'Error from server (AlreadyExists): error when creating "STDIN": '
            f'{kind} "{name}" already exists'
        )
    made["metadata"]["namespace"] = asked.namespace or "default"
    print(json.dumps(made, indent=4))


def execute(cluster: dict[str, Any], pod: str) -> None:
    answer = cluster["exec"][pod]
    time.sleep(answer.get("seconds", 0))
    print(answer.get("stdout", ""), end="")
    sys.exit(answer.get("complaint") or answer.get("status", 0))


def main() -> None:
    with _CALLS.open("a") as calls:
        calls.write(json.dumps(sys.argv[1:]) + "\n")
    cluster = json.loads((_HERE / "cluster.json").read_text())
    if cluster["down"]:
        fail(cluster["down"])
    parser = argparse.ArgumentParser()
    parser.add_argument("verb")
    parser.add_argument("words", nargs="*")
    for flag in ("--namespace", "--context", "--kubeconfig", "--output", "--as", "--filename",
                 "--selector", "--field-selector", "--request-timeout", "--type", "--patch",
                 "--wait", "--container"):  # fmt: skip
        parser.add_argument(flag)
    parser.add_argument("--all-namespaces", action="store_true")
    parser.add_argument("--ignore-not-found", action="store_true")
    parser.add_argument("--watch", action="store_true")
    parser.add_argument("--output-watch-events", action="store_true")
    asked = parser.parse_intermixed_args(sys.argv[1:])
    if (asked.field_selector or "").startswith("metadata.name="):
        followed(cluster, asked)
    elif asked.verb == "delete":
        print(cluster["deletes"])
    elif asked.verb == "get":
        get(cluster, asked)
    elif asked.verb == "create":
        create(cluster, asked)
    elif asked.verb == "exec":
        execute(cluster, asked.words[0])
    elif asked.verb == "config":
        print("admin@east\ndev/west")


if __name__ == "__main__":
    main()
