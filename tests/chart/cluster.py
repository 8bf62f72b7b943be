"""etcd and kube-apiserver on free ports of loopback: enough for what a chart asks of a cluster."""

import contextlib
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.chart.charts import NAMESPACE, binary

_READY_SECONDS = 120
_AUDIT = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata", "userGroups": [f"system:serviceaccounts:{NAMESPACE}"]}],
}


@dataclass(frozen=True)
class Cluster:
    """A control plane without controllers."""

    kubeconfig: Path
    audit_log: Path
    """What the service accounts of the driver asked for, an event a line."""

    def kubectl(self, *arguments: str, stdin: str = "", expect: int = 0) -> str:
        """Run kubectl; gives what it prints, with its errors where failure is expected."""
        result = subprocess.run(
            [str(binary("kubectl")), f"--kubeconfig={self.kubeconfig}", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert result.returncode == expect, f"{arguments}: {result.stdout}{result.stderr}"
        return result.stdout if expect == 0 else result.stdout + result.stderr

    def kubeconfig_of(self, account: str, directory: Path) -> Path:
        """A kubeconfig for a service account of the driver."""
        token = self.kubectl("-n", NAMESPACE, "create", "token", account).strip()
        content = yaml.safe_load(self.kubeconfig.read_text())
        content["users"][0]["user"] = {"token": token}
        path = directory / f"{account}.kubeconfig"
        path.write_text(yaml.safe_dump(content))
        return path


@contextlib.contextmanager
def running(directory: Path) -> Iterator[Cluster]:
    """A control plane that ends with the context."""
    client, peer, secure = _free_ports(3)
    token = secrets.token_hex(16)
    (directory / "tokens.csv").write_text(f'{token},admin,admin,"system:masters"\n')
    key = directory / "accounts.key"
    subprocess.run(
        ["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True, timeout=60
    )
    cluster = Cluster(_kubeconfig(directory, token, secure), directory / "audit.log")
    (directory / "audit.yaml").write_text(yaml.safe_dump(_AUDIT))
    etcd = (
        f"--data-dir={directory}/etcd --listen-client-urls=http://127.0.0.1:{client}"
        f" --advertise-client-urls=http://127.0.0.1:{client} --unsafe-no-fsync --log-level=error"
        f" --listen-peer-urls=http://127.0.0.1:{peer}"
        f" --initial-advertise-peer-urls=http://127.0.0.1:{peer}"
        f" --initial-cluster=default=http://127.0.0.1:{peer}"
    )
    api = (
        f"--etcd-servers=http://127.0.0.1:{client} --bind-address=127.0.0.1 --secure-port={secure}"
        f" --advertise-address=127.0.0.1 --endpoint-reconciler-type=none"
        f" --cert-dir={directory}/certificates --token-auth-file={directory}/tokens.csv"
        f" --service-account-issuer=https://kubernetes.default.svc"
        f" --service-account-key-file={key} --service-account-signing-key-file={key}"
        f" --authorization-mode=RBAC --allow-privileged=true"
        f" --audit-policy-file={directory}/audit.yaml --audit-log-path={cluster.audit_log}"
        f" --service-cluster-ip-range=10.0.0.0/24 --profiling=false"
        # No controller makes the accounts that pods are checked for.
        f" --disable-admission-plugins=ServiceAccount"
    )
    with (
        _process(directory, "etcd", *etcd.split()),
        _process(directory, "kube-apiserver", *api.split()) as server,
    ):
        _await_ready(cluster, server, directory)
        yield cluster


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _kubeconfig(directory: Path, token: str, port: int) -> Path:
    server = {"server": f"https://127.0.0.1:{port}", "insecure-skip-tls-verify": True}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": server}],
        "users": [{"name": "admin", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
        "current-context": "test",
    }
    path = directory / "kubeconfig"
    path.write_text(yaml.safe_dump(content))
    path.chmod(0o600)  # helm warns of one that others can read
    return path


@contextlib.contextmanager
def _process(directory: Path, name: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    program = binary(name)
    assert program
    with (directory / f"{name}.log").open("wb") as log:
        process = subprocess.Popen([str(program), *arguments], stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)


def _await_ready(cluster: Cluster, server: subprocess.Popen[bytes], directory: Path) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(AssertionError):
            cluster.kubectl("get", "--raw", "/readyz")
            cluster.kubectl("get", "namespace", "default")
            return
        time.sleep(0.2)
    log = (directory / "kube-apiserver.log").read_text()
    raise AssertionError(f"kube-apiserver is not ready: {log[-3000:]}")
