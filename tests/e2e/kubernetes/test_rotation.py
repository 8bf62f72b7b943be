"""Keys and certificates are made anew under pods that use volumes, as docs/security.md has it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from tests.e2e.kubernetes.manifests import DATA, claim, pod
from tests.e2e.kubernetes.user import User, until
from tests.e2e.lab.host import Host
from tests.e2e.lab.kubernetes import release
from tests.e2e.lab.kubernetes.cluster import Cluster

BOOTSTRAP = "csi-lvm-iscsi-bootstrap"
TLS = "/etc/csi-lvm-iscsi/tls"
KEYS = "/etc/csi-lvm-iscsi/chap-keys"
ROLE_PORT = 9740
KUBELET_SECONDS = 240
"""Kubelet brings a Secret's new content in a minute or two."""

WRITER = f"""\
trap exit TERM
while date >{DATA}/time && sync; do sleep 0.2; done
echo failed >/tmp/failed; sleep infinity
"""


def test_a_new_chap_key_is_for_what_is_published_from_then_on(cluster: Cluster, user: User) -> None:
    user.apply(claim("old"), pod("old", "old", script=WRITER))
    user.await_pods("old")
    before = _starts(cluster)
    present = _keys_of_secret(cluster)[-1]
    following = f"k{int(present.removeprefix('k')) + 1}"

    _bootstrap(cluster, f"rotate-{following}", f"--last-chap-key={following}")
    until(
        lambda: all(following in each for each in _keys_of_pods(cluster)),
        lambda: f"not everywhere: {list(_keys_of_pods(cluster))}",
        KUBELET_SECONDS,
    )
    user.apply(claim("new"), pod("new", "new"))
    user.await_pods("new")
    assert _key_of(cluster, user, "new") == following
    assert _key_of(cluster, user, "old") == present
    assert user.sh("old", "ls /tmp") == "", "its volume failed"
    assert _starts(cluster) == before


def test_new_certificates_are_taken_without_a_restart(cluster: Cluster, user: User) -> None:
    before = _starts(cluster)
    begun = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    for name in ("server", "client"):
        release.kubectl(cluster, "delete", f"secret/csi-lvm-iscsi-{name}-tls")
    _bootstrap(cluster, "renew-1")
    hosts, controllers = _named(before, "storage"), _named(before, "controller")
    until(
        lambda: (
            all(_has_new(cluster, each, "server") for each in hosts)
            and all(_has_new(cluster, each, "client") for each in controllers)
        ),
        lambda: "kubelet has not brought them everywhere",
        KUBELET_SECONDS,
    )
    assert all(_presents_that_of_its_secret(cluster, each) for each in _storage_hosts(cluster))
    user.apply(claim("data"), pod("app", "data"))
    user.await_pods("app")
    assert any(_has_read_certificates(cluster, each, begun) for each in controllers)
    assert _starts(cluster) == before


def _bootstrap(cluster: Cluster, name: str, *arguments: str) -> None:
    """Run it once, with these arguments more."""
    made = ("create", "job", name, f"--from=cronjob/{BOOTSTRAP}", "--dry-run=client", "-o", "json")
    job = json.loads(release.kubectl(cluster, *made))
    job["spec"]["template"]["spec"]["containers"][0]["args"] += arguments
    cluster.insist("kubectl", "create", "--filename=-", stdin=json.dumps(job))
    release.kubectl(cluster, "wait", "--for=condition=Complete", f"job/{name}", "--timeout=120s")
    release.kubectl(cluster, "delete", f"job/{name}")


def _keys_of_secret(cluster: Cluster) -> list[str]:
    shown = release.kubectl(cluster, "get", "secret/csi-lvm-iscsi-chap-keys", "--output=json")
    return sorted(json.loads(shown)["data"])


def _keys_of_pods(cluster: Cluster) -> Iterator[list[str]]:
    """Those that each storage and node pod has."""
    for name in _starts(cluster):
        if "-storage-" in name or "-node-" in name:
            yield release.kubectl(cluster, "exec", name, "--", "ls", KEYS).split()


def _key_of(cluster: Cluster, user: User, claim_name: str) -> str:
    """The one that a volume was published with, by the record of its storage host."""
    grant = f"/var/lib/csi-lvm-iscsi/grants/{user.volume_id(claim_name)}.json"
    reads = [host.exec("cat", grant) for host in _storage_hosts(cluster)]
    (text,) = [read.text for read in reads if read.status == 0]
    (key,) = {name for name in _keys_of_secret(cluster) if f'"{name}"' in text}
    return key


def _named(pods: Iterable[str], role: str) -> list[str]:
    return [name for name in pods if f"-{role}-" in name]


def _has_new(cluster: Cluster, name: str, of: str) -> bool:
    """Whether a pod's certificate is that of the Secret."""
    container = "storage" if of == "server" else "controller"
    cat = ("exec", name, f"--container={container}", "--", "cat", f"{TLS}/tls.crt")
    return _certificate_of_secret(cluster, of) == release.kubectl(cluster, *cat)


def _storage_hosts(cluster: Cluster) -> list[Host]:
    return [host for host in cluster.hosts.values() if host.identity.kind == "storage"]


def _presents_that_of_its_secret(cluster: Cluster, host: Host) -> bool:
    """Whether a storage role presents the new certificate to who connects from now on."""
    place = (host.identity.data_address, ROLE_PORT)
    script = f"import ssl; print(ssl.get_server_certificate({place}))"
    presented = host.exec("python3", "-c", script).check().text
    return presented.strip() in _certificate_of_secret(cluster, "server")


def _certificate_of_secret(cluster: Cluster, of: str) -> str:
    path = r"--output=jsonpath={.data.tls\.crt}"
    secret = release.kubectl(cluster, "get", f"secret/csi-lvm-iscsi-{of}-tls", path)
    return base64.b64decode(secret).decode()


def _has_read_certificates(cluster: Cluster, name: str, since: str) -> bool:
    """Whether a controller has read them since a time."""
    logs = ("logs", name, "--container=controller", f"--since-time={since}")
    return "certificates read anew" in release.kubectl(cluster, *logs)


def _starts(cluster: Cluster) -> dict[str, int]:
    """How often the containers of each of the driver's pods were started again."""
    pods = json.loads(release.kubectl(cluster, "get", "pods", "--output=json"))["items"]
    return {
        each["metadata"]["name"]: sum(
            status["restartCount"] for status in each["status"]["containerStatuses"]
        )
        for each in pods
        if BOOTSTRAP not in each["metadata"]["name"]
    }
