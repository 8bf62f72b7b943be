"""The Secrets of a cluster: made, kept, renewed, rotated, by several at once."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from structlog.testing import capture_logs

from csi_lvm_iscsi.bootstrap import flow
from csi_lvm_iscsi.bootstrap.flow import AUTHORITY, CHAP_KEYS, CLIENT_TLS, SERVER_TLS, ensure_all
from csi_lvm_iscsi.bootstrap.store import Secrets
from csi_lvm_iscsi.model.errors import DriverError
from tests.unit.bootstrap.api_server import ApiServer, running

NOW = datetime(2026, 11, 24, tzinfo=UTC)
LEAF_DUE = NOW + timedelta(days=365 * 2 / 3 + 1)
AUTHORITY_DUE = NOW + timedelta(days=3650 * 2 / 3 + 1)


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with running() as server:
        yield server


def run(server: ApiServer, now: datetime = NOW, *, last: str = "") -> None:
    ensure_all(Secrets(server.api, "storage"), last_chap_key=last, now=now)


def certificate(pem: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem)


def test_what_is_made(server: ApiServer) -> None:
    run(server)
    assert {name: (each["type"], set(each["data"])) for name, each in server.objects.items()} == {
        AUTHORITY: ("Opaque", {"ca.crt", "ca.key"}),
        SERVER_TLS: ("kubernetes.io/tls", {"ca.crt", "tls.crt", "tls.key"}),
        CLIENT_TLS: ("kubernetes.io/tls", {"ca.crt", "tls.crt", "tls.key"}),
        CHAP_KEYS: ("Opaque", {"k1"}),
    }
    authority = certificate(server.data(AUTHORITY)["ca.crt"])
    leaf = certificate(server.data(SERVER_TLS)["tls.crt"])
    leaf.verify_directly_issued_by(authority)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["storage.csi-lvm-iscsi"]
    assert leaf.not_valid_after_utc == NOW + timedelta(days=365)
    assert authority.not_valid_after_utc == NOW + timedelta(days=3650)
    assert len(server.data(CHAP_KEYS)["k1"]) == 64


def test_what_is_there_stays(server: ApiServer) -> None:
    run(server)
    before = server.versions
    run(server, NOW + timedelta(days=100))
    assert server.versions == before


def test_secrets_are_not_told(server: ApiServer, capsys: pytest.CaptureFixture[str]) -> None:
    with capture_logs() as logs:
        run(server)
        run(server, LEAF_DUE, last="k2")
    told = f"{logs} {capsys.readouterr()}".encode()
    private = [server.data(CHAP_KEYS)["k1"], server.data(CHAP_KEYS)["k2"]]
    assert not any(secret in told for secret in private)
    assert b"PRIVATE" not in told
    assert [entry["secret"] for entry in logs] == [
        AUTHORITY, SERVER_TLS, CLIENT_TLS, CHAP_KEYS, SERVER_TLS, CLIENT_TLS, CHAP_KEYS,
    ]  # fmt: skip


def test_a_leaf_is_renewed_before_its_end_and_the_rest_stays(server: ApiServer) -> None:
    run(server)
    before = server.versions
    old = server.data(SERVER_TLS)["tls.crt"]
    run(server, LEAF_DUE)
    assert {name for name in before if server.versions[name] != before[name]} == {
        SERVER_TLS,
        CLIENT_TLS,
    }
    new = server.data(SERVER_TLS)["tls.crt"]
    assert new != old
    assert certificate(new).not_valid_after_utc == LEAF_DUE + timedelta(days=365)


def test_a_new_authority_is_known_everywhere_before_it_signs(server: ApiServer) -> None:
    """Whoever has not read the new bundle yet must still know the other side's certificate."""
    run(server)
    run(server, AUTHORITY_DUE - timedelta(days=30))
    old_leaf = server.data(SERVER_TLS)["tls.crt"]
    old_authority = server.data(AUTHORITY)["ca.crt"]
    due = AUTHORITY_DUE + timedelta(days=220)  # the leaves are due too
    run(server, due)
    bundle = server.data(AUTHORITY)["ca.crt"]
    assert len(x509.load_pem_x509_certificates(bundle)) == 2
    assert bundle.endswith(old_authority)
    for name in (SERVER_TLS, CLIENT_TLS):
        assert server.data(name)["ca.crt"] == bundle
    assert server.data(SERVER_TLS)["tls.crt"] == old_leaf

    run(server, due + timedelta(days=1))
    certificate(server.data(SERVER_TLS)["tls.crt"]).verify_directly_issued_by(certificate(bundle))
    over = NOW + timedelta(days=3651)
    run(server, over)
    assert len(x509.load_pem_x509_certificates(server.data(AUTHORITY)["ca.crt"])) == 1
    assert server.data(CLIENT_TLS)["ca.crt"] == server.data(AUTHORITY)["ca.crt"]


def test_an_authority_that_was_deleted_signs_all_anew(server: ApiServer) -> None:
    run(server)
    del server.objects[AUTHORITY]
    run(server)
    authority = certificate(server.data(AUTHORITY)["ca.crt"])
    for name in (SERVER_TLS, CLIENT_TLS):
        certificate(server.data(name)["tls.crt"]).verify_directly_issued_by(authority)


def test_an_authority_that_is_none_is_left_alone(server: ApiServer) -> None:
    server.put(AUTHORITY, {"ca.crt": b"something else", "ca.key": b""})
    with pytest.raises(DriverError, match="does not hold an authority"):
        run(server)
    assert server.data(AUTHORITY)["ca.crt"] == b"something else"


def test_a_leaf_that_is_none_is_made_anew(server: ApiServer) -> None:
    server.put(SERVER_TLS, {"tls.crt": b"", "tls.key": b""})
    run(server)
    certificate(server.data(SERVER_TLS)["tls.crt"])


def test_rotation_keeps_the_last_key_and_drops_those_before(server: ApiServer) -> None:
    run(server)
    first = server.data(CHAP_KEYS)["k1"]
    run(server, last="k2")
    assert server.data(CHAP_KEYS).keys() == {"k1", "k2"}
    assert server.data(CHAP_KEYS)["k1"] == first
    run(server, last="k3")
    assert server.data(CHAP_KEYS).keys() == {"k2", "k3"}


def test_a_rotation_that_is_asked_for_again_drops_nothing(server: ApiServer) -> None:
    """As a Job does whose pod died after its work was done."""
    run(server)
    run(server, last="k2")
    before = server.data(CHAP_KEYS)
    for again in ("k2", "k1", ""):
        run(server, last=again)
        assert server.data(CHAP_KEYS) == before


@pytest.mark.parametrize("last", ["k3", "zebra"])
def test_a_key_that_is_not_the_next_is_refused(server: ApiServer, last: str) -> None:
    run(server)
    with pytest.raises(DriverError, match=last):
        run(server, last=last)
    assert server.data(CHAP_KEYS).keys() == {"k1"}


def test_rotation_past_nine(server: ApiServer) -> None:
    server.put(CHAP_KEYS, {"k8": b"x", "k9": b"x"})
    run(server, last="k10")
    run(server, last="k11")
    assert server.data(CHAP_KEYS).keys() == {"k10", "k11"}


def test_a_key_of_another_name_is_not_dropped_unasked(server: ApiServer) -> None:
    server.put(CHAP_KEYS, {"zebra": b"x"})
    with pytest.raises(DriverError, match="'zebra'"):
        run(server, last="k2")
    assert server.data(CHAP_KEYS) == {"zebra": b"x"}


def test_two_at_once_agree(server: ApiServer) -> None:
    with ThreadPoolExecutor(2) as threads:
        for each in [threads.submit(run, server) for _ in range(2)]:
            each.result(60)
    assert server.data(CHAP_KEYS).keys() == {"k1"}
    authority = certificate(server.data(AUTHORITY)["ca.crt"])
    for name in (SERVER_TLS, CLIENT_TLS):
        certificate(server.data(name)["tls.crt"]).verify_directly_issued_by(authority)


@pytest.mark.parametrize("secret", [AUTHORITY, SERVER_TLS, CHAP_KEYS])
@pytest.mark.parametrize("last", ["", "k2"])
def test_another_that_is_faster_is_followed(server: ApiServer, secret: str, last: str) -> None:
    """Between the look and the write of the one, the other does all its work."""

    def other(name: str) -> None:
        if name == secret:
            server.before_write = lambda _: None
            run(server, last=last)

    if last:
        run(server)
        secret = CHAP_KEYS
    server.before_write = other
    run(server, last=last)
    assert server.data(CHAP_KEYS).keys() == ({"k1", "k2"} if last else {"k1"})
    assert server.data(SERVER_TLS)["ca.crt"] == server.data(AUTHORITY)["ca.crt"]


def test_no_rights(server: ApiServer) -> None:
    server.forbidden = True
    with pytest.raises(DriverError, match=r"storage/csi-lvm-iscsi-ca cannot be read: .* 403"):
        run(server)


def test_no_server(server: ApiServer) -> None:
    api = server.api
    server.shutdown()
    server.server_close()
    with pytest.raises(DriverError, match="does not answer"):
        flow.ensure_all(Secrets(api, "storage"))
