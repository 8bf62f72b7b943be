"""Mutual TLS between the controller and the storage hosts.

A directory holds ca.crt, tls.crt and tls.key, the names of a Kubernetes TLS secret. They are read
anew when they change, so that certificates are renewed without a restart.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc
import structlog

from csi_lvm_iscsi.model.errors import DriverError

_FILES = ("ca.crt", "tls.crt", "tls.key")
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate with its key, and the authorities that the other side's must be of. PEM."""

    authorities: bytes
    certificate: bytes
    key: bytes


class TlsDirectory:
    """The files of a directory, as they are now."""

    def __init__(self, path: Path) -> None:
        """Raises DriverError where they cannot be read, or do not belong together."""
        self._path = path
        self._seen = self._state()
        self._current = self._read()
        self._told = ""

    def current(self) -> KeyPair:
        """The last that were whole: while somebody writes them, those of before."""
        state = self._state()
        if state != self._seen:
            try:
                self._current = self._read()
            except DriverError as error:
                # They are read again at the next call, as the error may pass without a change of
                # the files (EMFILE, EIO).
                self._tell(str(error))
            else:
                self._seen, self._told = state, ""
                _log.info("certificates read anew", directory=str(self._path))
        return self._current

    def _tell(self, error: str) -> None:
        """Once, however many calls meet the same error."""
        if error != self._told:
            self._told = error
            _log.warning("the certificates of before stay in use", error=error)

    def _state(self) -> object:
        """What changes with the files. Kubernetes has links to files there, and replaces these."""
        try:
            found = [(self._path / name).stat() for name in _FILES]
        except OSError as error:
            return str(error)
        return [(each.st_dev, each.st_ino, each.st_mtime_ns, each.st_size) for each in found]

    def _read(self) -> KeyPair:
        """Read the files. They are whole where the key is the certificate's and nothing changed
        while that was looked at."""
        before, read = self._state(), KeyPair(*map(self._file, _FILES))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            context.load_verify_locations(cadata=read.authorities.decode("ascii"))
            context.load_cert_chain(self._path / "tls.crt", self._path / "tls.key")
        except (OSError, ValueError) as error:  # ssl.SSLError among them
            raise DriverError(
                f"The certificates in {self._path} cannot be used ({error}): ca.crt must hold "
                "authorities, and tls.key be the key of tls.crt, without a passphrase."
            ) from error
        if self._state() != before:
            raise DriverError(f"The certificates in {self._path} were just being replaced.")
        return read

    def _file(self, name: str) -> bytes:
        try:
            return (self._path / name).read_bytes()
        except OSError as error:
            raise DriverError(
                f"{self._path / name} cannot be read ({error.strerror}): --tls-dir must hold "
                "ca.crt, tls.crt and tls.key."
            ) from error


def server_credentials(directory: Path) -> grpc.ServerCredentials:
    """Credentials of a server that lets in only clients with a certificate of the same CA. Each
    new connection is shown the certificate of its time. Raises DriverError."""
    files = TlsDirectory(directory)
    used = files.current()

    def changed() -> grpc.ServerCertificateConfiguration | None:
        nonlocal used
        current = files.current()
        if current == used:
            return None
        used = current
        return _configuration(current)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(used),
        changed,  # type: ignore[arg-type]  # the stubs leave out None, for "as before"
        require_client_authentication=True,
    )


def _configuration(pair: KeyPair) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(pair.key, pair.certificate)], root_certificates=pair.authorities
    )


class ClientCredentials:
    """Credentials of a client that shows its certificate and checks the server's."""

    def __init__(self, directory: Path) -> None:
        """Raises DriverError."""
        self._files = TlsDirectory(directory)
        self._used = self._files.current()
        self._made = _channel_credentials(self._used)

    def current(self) -> grpc.ChannelCredentials:
        """Those of now: another object only where the files have changed."""
        current = self._files.current()
        if current != self._used:
            self._used, self._made = current, _channel_credentials(current)
        return self._made


def _channel_credentials(pair: KeyPair) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(
        root_certificates=pair.authorities,
        private_key=pair.key,
        certificate_chain=pair.certificate,
    )
