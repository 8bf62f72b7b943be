"""The keys of one lab: a certificate authority, certificates and the CHAP key."""

from __future__ import annotations

import secrets
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from tests.e2e.lab.errors import LabError
from tests.e2e.lab.topology import HostName

VALID_DAYS = "30"


class Authority:
    """A certificate authority of its own in `directory`, made when it is first needed."""

    def __init__(self, directory: Path) -> None:
        self.certificate = directory / "ca.crt"
        self.key = directory / "ca.key"
        directory.mkdir(parents=True)
        _openssl_req(
            "/CN=csi-lvm-iscsi lab authority", self.key, self.certificate,
            "basicConstraints=critical,CA:TRUE",
            "keyUsage=critical,keyCertSign,cRLSign",
        )  # fmt: skip

    def issue_server(self, host: HostName, directory: Path) -> None:
        """A certificate for the host's name and data address, as a TLS server."""
        names = f"subjectAltName=DNS:{host},IP:{host.data_address}"
        self._issue(str(host), directory, "extendedKeyUsage=serverAuth", names)

    def issue_api_server(self, addresses: Iterable[str], directory: Path) -> None:
        """A certificate for a Kubernetes API server at these IP addresses."""
        names = ",".join(["DNS:kubernetes.default.svc", *(f"IP:{each}" for each in addresses)])
        extensions = ("extendedKeyUsage=serverAuth", f"subjectAltName={names}")
        self._issue("kube-apiserver", directory, *extensions)

    def issue_client(self, name: str, directory: Path) -> None:
        """A certificate with which to call the storage hosts."""
        self._issue(name, directory, "extendedKeyUsage=clientAuth", f"subjectAltName=DNS:{name}")

    def _issue(self, name: str, directory: Path, *extensions: str) -> None:
        """Write tls.crt, tls.key and ca.crt, the files of a Kubernetes TLS secret."""
        directory.mkdir(parents=True)
        shutil.copy(self.certificate, directory / "ca.crt")
        _openssl_req(
            f"/CN={name}", directory / "tls.key", directory / "tls.crt",
            "basicConstraints=critical,CA:FALSE", *extensions,
            signer=("-CA", str(self.certificate), "-CAkey", str(self.key)),
        )  # fmt: skip


def new_chap_key() -> str:
    """256 random bits in hexadecimal."""
    return secrets.token_hex(32)


def write_secret(path: Path, text: str) -> None:
    """Write a file that only its owner can ever read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(text)


def _openssl_req(
    subject: str, key: Path, certificate: Path, *extensions: str, signer: tuple[str, ...] = ()
) -> None:
    """Make an ECDSA key and its certificate, self-signed where no signer is given."""
    command = [
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
        "-noenc", "-days", VALID_DAYS, "-subj", subject, "-keyout", str(key),
        "-out", str(certificate), *signer,
    ]  # fmt: skip
    for extension in extensions:
        command += ["-addext", extension]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise LabError(f"openssl could not make {certificate}: {done.stderr.strip()}")


def write_private_key(path: Path) -> None:
    """An ECDSA key, as the API server takes it for tokens of service accounts."""
    command = ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(path)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
