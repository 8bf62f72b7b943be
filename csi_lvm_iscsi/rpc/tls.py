"""Mutual TLS between the controller and the storage hosts.

A directory holds ca.crt, tls.crt and tls.key, the names of a Kubernetes TLS secret.
"""

from pathlib import Path

import grpc

from csi_lvm_iscsi.model.errors import DriverError


def server_credentials(directory: Path) -> grpc.ServerCredentials:
    """Credentials of a server that lets in only clients with a certificate of the same CA."""
    return grpc.ssl_server_credentials(
        [(_read(directory, "tls.key"), _read(directory, "tls.crt"))],
        root_certificates=_read(directory, "ca.crt"),
        require_client_auth=True,
    )


def client_credentials(directory: Path) -> grpc.ChannelCredentials:
    """Credentials of a client that shows its certificate and checks the server's."""
    return grpc.ssl_channel_credentials(
        root_certificates=_read(directory, "ca.crt"),
        private_key=_read(directory, "tls.key"),
        certificate_chain=_read(directory, "tls.crt"),
    )


def _read(directory: Path, name: str) -> bytes:
    try:
        return (directory / name).read_bytes()
    except OSError as error:
        raise DriverError(
            f"{directory / name} cannot be read ({error.strerror}): --tls-dir must hold ca.crt, "
            "tls.crt and tls.key."
        ) from error
