"""The control plane: etcd, API server, controller manager and scheduler in the lab's network."""

from __future__ import annotations

import base64
import json
import secrets
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.e2e.lab import pki
from tests.e2e.lab.daemons import Daemons
from tests.e2e.lab.errors import LabError
from tests.e2e.lab.kubernetes.builds import BIN
from tests.e2e.lab.network import Network
from tests.e2e.lab.topology import API_SERVER, DATA_NETWORK, POD_NETWORK

ADDRESS = f"{DATA_NETWORK}.1"
SERVICES = f"{API_SERVER.rsplit('.', 1)[0]}.0/24"
READY_TIMEOUT = 120.0
POLL_INTERVAL = 0.1
ETCD = "http://127.0.0.1:2379"


class ControlPlane:
    """The control plane of one lab, whose network has API_SERVER as an address."""

    options: Mapping[str, Sequence[str]] = {}
    """What programs are started with besides, by their names."""

    def __init__(self, daemons: Daemons, network: Network) -> None:
        self._daemons = daemons
        self._network = network
        self._directory = daemons.directory

    def create(self, nodes: list[str]) -> None:
        """Make its keys, and a token for each of its users: components, nodes and the admin."""
        authority = pki.Authority(self._directory / "pki")
        authority.issue_api_server([ADDRESS, API_SERVER, "127.0.0.1"], self._directory / "tls")
        pki.write_private_key(self._directory / "accounts.key")
        users = [
            ("admin", "system:masters"),
            ("system:kube-controller-manager", ""),
            ("system:kube-scheduler", ""),
            *((f"system:node:{node}", "system:nodes") for node in nodes),
        ]
        tokens = {user: secrets.token_hex(16) for user, _ in users}
        lines = [f'{tokens[user]},{user},{user},"{group}"' for user, group in users]
        pki.write_secret(self._directory / "tokens.csv", "\n".join(lines))
        for user, token in tokens.items():
            pki.write_secret(self.kubeconfig(user), self._kubeconfig(user, token))

    def kubeconfig(self, user: str = "admin") -> Path:
        """The file with which a user reaches the API server."""
        return self._directory / "kubeconfigs" / user.replace(":", "_")

    def start(self) -> None:
        """Start all, without waiting for anything."""
        self._start("etcd", *_etcd(self._directory))
        self._start("kube-apiserver", *_api_server(self._directory))
        manager, scheduler = "kube-controller-manager", "kube-scheduler"
        self._start(manager, *_manager(self._directory, self.kubeconfig(f"system:{manager}")))
        self._start(
            scheduler,
            f"--kubeconfig={self.kubeconfig(f'system:{scheduler}')}",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
        )

    def start_snapshot_controller(self) -> None:
        """Start it; it ends by itself where its CRDs are not there yet."""
        self._start(
            "snapshot-controller", f"--kubeconfig={self.kubeconfig()}", "--leader-election=false"
        )

    def wait_ready(self) -> None:
        """Wait until pods can be made; LabError if that takes too long."""
        deadline = time.monotonic() + READY_TIMEOUT
        while self._kubectl("get", "serviceaccount", "default").returncode != 0:
            if time.monotonic() > deadline:
                raise LabError(f"Kubernetes is not ready: see the logs in {self._directory}.")
            time.sleep(POLL_INTERVAL)

    def _kubectl(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        command = [str(BIN / "kubectl"), f"--kubeconfig={self.kubeconfig()}", *arguments]
        return subprocess.run(
            self._network.command(*command), capture_output=True, check=False, timeout=60
        )

    def _start(self, program: str, *arguments: str) -> None:
        command = [str(BIN / program), *arguments, *self.options.get(program, ())]
        self._daemons.start(program, command)

    def _kubeconfig(self, user: str, token: str) -> str:
        cluster = {
            "server": f"https://{ADDRESS}",
            "certificate-authority-data": _base64(self._directory / "pki" / "ca.crt"),
        }
        return json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "lab", "cluster": cluster}],
                "users": [{"name": user, "user": {"token": token}}],
                "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": user}}],
                "current-context": "lab",
            }
        )


def _etcd(directory: Path) -> list[str]:
    peer = "http://127.0.0.1:2380"
    return [
        f"--data-dir={directory / 'etcd'}",
        f"--listen-client-urls={ETCD}",
        f"--advertise-client-urls={ETCD}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def _api_server(directory: Path) -> list[str]:
    tls, accounts = directory / "tls", directory / "accounts.key"
    return [
        f"--etcd-servers={ETCD}",
        "--bind-address=0.0.0.0",
        f"--advertise-address={ADDRESS}",
        "--secure-port=443",
        f"--service-cluster-ip-range={SERVICES}",
        f"--tls-cert-file={tls / 'tls.crt'}",
        f"--tls-private-key-file={tls / 'tls.key'}",
        f"--client-ca-file={tls / 'ca.crt'}",
        f"--token-auth-file={directory / 'tokens.csv'}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={accounts}",
        f"--service-account-signing-key-file={accounts}",
        "--authorization-mode=Node,RBAC",
        "--kubelet-preferred-address-types=InternalIP",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        "--profiling=false",
    ]


def _manager(directory: Path, kubeconfig: Path) -> list[str]:
    return [
        f"--kubeconfig={kubeconfig}",
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
        "--use-service-account-credentials=true",
        f"--service-account-private-key-file={directory / 'accounts.key'}",
        f"--root-ca-file={directory / 'tls' / 'ca.crt'}",
        f"--cluster-cidr={POD_NETWORK}.0.0/16",
    ]


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
