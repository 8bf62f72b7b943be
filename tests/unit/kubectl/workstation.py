"""A user's workstation: the plugin, copied there, and a kubectl that plays a cluster."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from csi_lvm_iscsi.kubectl import plugin
from tests.unit.kubectl import fake_kubectl
from tests.unit.kubectl.objects import Object

KINDS = (
    plugin.CLAIMS, plugin.VOLUMES, plugin.HOTPLUGS, plugin.HOSTS, plugin.MACHINES, plugin.GUESTS,
    plugin.WORKLOADS, "pods", "volumeattachments", "nodes", "storageclasses", "events",
    "namespaces",
)  # fmt: skip
_SECONDS = 60


@dataclass(frozen=True)
class Ran:
    status: int
    out: str
    err: str

    def rows(self) -> list[list[str]]:
        """The cells of a table, its columns three blanks apart at least."""
        return [
            [cell.strip() for cell in line.split("   ") if cell] for line in self.out.splitlines()
        ]


class Workstation:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.cluster: dict[str, Any] = {
            "objects": {kind: [] for kind in KINDS},
            "forbidden": [],
            "lists": [],
            "watches": [],
            "exec": {},
            "deletes": "deleted",
            "silent": False,
            "down": "",
        }
        source = Path(plugin.__file__).read_text()
        for name in ("kubectl-lvmiscsi", "kubectl_complete-lvmiscsi"):
            (directory / name).write_text(source)
        kubectl = directory / "kubectl"
        lines = Path(fake_kubectl.__file__).read_text()
        kubectl.write_text(f"#!{sys.executable} -IS\n{lines}")
        kubectl.chmod(0o755)

    def has(self, kind: str, *objects: Object) -> None:
        self.cluster["objects"][kind] = list(objects)

    def lacks(self, *kinds: str) -> None:
        """Kinds of objects that this cluster does not know."""
        for kind in kinds:
            del self.cluster["objects"][kind]

    def run(self, *words: str, name: str = "kubectl-lvmiscsi", mixed: bool = False) -> Ran:
        """Run the plugin by itself: without the package, and without what is installed beside
        Python. `mixed`: as on a terminal, what it says on stderr among the rest."""
        ran = subprocess.run(
            self._command(name, words),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if mixed else subprocess.PIPE,
            text=True,
            timeout=_SECONDS,
            check=False,
            env={"PATH": str(self.directory)},
        )
        return Ran(ran.returncode, ran.stdout, ran.stderr or "")

    def interrupt(self, *words: str, name: str) -> Ran:
        """Press Ctrl-C while kubectl hangs. The terminal tells it to that, too."""
        hangs = self.directory / "hangs"
        script = f"#!/bin/sh\n: >{hangs}\nexec /bin/sleep {_SECONDS}\n"
        (self.directory / "kubectl").write_text(script)
        with subprocess.Popen(
            self._command(name, words),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={"PATH": str(self.directory)},
            start_new_session=True,
        ) as process:
            while not hangs.exists():
                assert process.poll() is None, process.communicate()
                time.sleep(0.01)
            os.killpg(process.pid, signal.SIGINT)
            out, err = process.communicate(timeout=_SECONDS / 2)
        return Ran(process.returncode, out, err)

    def write(self) -> None:
        """Have kubectl play the cluster as it is now."""
        (self.directory / "cluster.json").write_text(json.dumps(self.cluster))

    def _command(self, name: str, words: Sequence[str]) -> list[str]:
        self.write()
        return [sys.executable, "-I", "-S", str(self.directory / name), *words]

    def complete(self, *words: str) -> list[str]:
        """What the completion answers, without what it says of each."""
        ran = self.run(*words, name="kubectl_complete-lvmiscsi")
        *found, directive = ran.out.splitlines()
        assert (ran.status, ran.err, directive) == (0, "", ":4")
        return [line.partition("\t")[0] for line in found]

    def calls(self, verb: str) -> list[list[str]]:
        """How kubectl was called with this verb."""
        lines = (self.directory / "calls.jsonl").read_text().splitlines()
        return [call for call in map(json.loads, lines) if verb in call]

    def created(self) -> Object:
        found: Object = json.loads((self.directory / "created.json").read_text())
        return found
