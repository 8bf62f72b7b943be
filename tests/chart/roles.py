"""The roles with the chart's own arguments and accounts, run from here."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tests.chart import cluster
from tests.chart.charts import NAMESPACE, ROOT, pods, rendered


class Role:
    """A role, as the chart starts it, though from here."""

    def __init__(
        self, api: cluster.Cluster, directory: Path, kind: str, name: str, values: dict[str, Any]
    ) -> None:
        self.socket = directory / "csi.sock"
        self._kubeconfig = api.kubeconfig_of(f"csi-lvm-iscsi-{name}", directory)
        (container,) = [
            each
            for each in pods(rendered(values))[f"{kind}/csi-lvm-iscsi-{name}"]["containers"]
            if each["name"] == name
        ]
        places = {
            "$(NAMESPACE)": NAMESPACE,
            "/etc/csi-lvm-iscsi/tls": str(directory / "client-tls"),
            "/csi/csi.sock": str(self.socket),
        }
        self._arguments = [
            re.sub("|".join(map(re.escape, places)), lambda match: places[match[0]], each)
            for each in container["args"]
            if not each.startswith("--metrics=")
        ]

    async def start(self, *more: str) -> asyncio.subprocess.Process:
        """Start it."""
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "csi_lvm_iscsi", *self._arguments, *more),
            cwd=ROOT,
            env={**os.environ, "KUBECONFIG": str(self._kubeconfig)},
        )

    @contextlib.asynccontextmanager
    async def killed(self) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run it, and end it as a power cut does."""
        process = await self.start()
        try:
            yield process
        finally:
            process.kill()
            await process.wait()

    @contextlib.asynccontextmanager
    async def running(self, *more: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run it, and end it as kubelet does: it has to end well."""
        process = await self.start(*more)
        try:
            yield process
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(60):
                assert await process.wait() == 0


def mounted(api: cluster.Cluster, directory: Path, name: str) -> Path:
    """The directory that kubelet makes of a Secret."""
    secret = api.kubectl("-n", NAMESPACE, "get", "secret", f"csi-lvm-iscsi-{name}", "-o", "json")
    made = directory / name
    made.mkdir()
    for key, value in json.loads(secret)["data"].items():
        (made / key).write_bytes(base64.b64decode(value))
    return made
