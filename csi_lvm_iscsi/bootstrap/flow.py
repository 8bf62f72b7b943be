"""What the Secrets hold, and when that changes."""

import functools
import secrets
from collections.abc import Callable
from datetime import UTC, datetime

from csi_lvm_iscsi.bootstrap.certificates import (
    CLIENT,
    SERVER,
    Signed,
    is_due,
    is_signed_by_one_of,
    living,
    new_authority,
    new_leaf,
)
from csi_lvm_iscsi.bootstrap.store import Data, Secrets
from csi_lvm_iscsi.model.errors import DriverError
from csi_lvm_iscsi.records.keys import key_order

AUTHORITY = "csi-lvm-iscsi-ca"
SERVER_TLS = "csi-lvm-iscsi-server-tls"
CLIENT_TLS = "csi-lvm-iscsi-client-tls"
CHAP_KEYS = "csi-lvm-iscsi-chap-keys"
SERVER_NAME = "storage.csi-lvm-iscsi"
"""What all storage hosts of a cluster are called in their certificate."""

_CLIENT_NAME = "client.csi-lvm-iscsi"
_OPAQUE, _TLS = "Opaque", "kubernetes.io/tls"
_CHAP_KEY_BYTES = 32
FIRST_KEY = "k1"


def ensure_all(store: Secrets, *, last_chap_key: str = "", now: datetime | None = None) -> None:
    """Have all Secrets, with certificates whose life is not nearly over, and this CHAP key or a
    later one. Several may do so at once. Raises DriverError."""
    now = now or datetime.now(UTC)
    authority = store.ensure(AUTHORITY, _OPAQUE, lambda found: _authority(found, now))
    leaves = ((SERVER_TLS, SERVER_NAME, SERVER), (CLIENT_TLS, _CLIENT_NAME, CLIENT))
    for secret, name, usage in leaves:
        signer = Signed(authority["ca.crt"], authority["ca.key"])
        make = functools.partial(new_leaf, signer, name, usage, now)
        decide = functools.partial(_leaf, bundle=authority["ca.crt"], make=make, now=now)
        store.ensure(secret, _TLS, decide)
    store.ensure(
        CHAP_KEYS, _OPAQUE, functools.partial(_chap_keys, wanted=last_chap_key or FIRST_KEY)
    )


def _authority(found: Data, now: datetime) -> Data:
    """Of a bundle of authorities the first is the one that signs; those before it are trusted until
    their life is over."""
    if not found:
        made = new_authority(now)
        return {"ca.crt": made.certificate, "ca.key": made.key}
    try:
        if not is_due(found["ca.crt"], now):
            return {"ca.crt": living(found["ca.crt"], now), "ca.key": found["ca.key"]}
        made = new_authority(now)
        bundle = made.certificate + living(found["ca.crt"], now)
    except (KeyError, ValueError) as error:
        raise DriverError(
            f"Secret {AUTHORITY} does not hold an authority ({error!r}). Put back what was in it; "
            "or delete it, and restart all roles when the certificates are made anew."
        ) from None
    return {"ca.crt": bundle, "ca.key": made.key}


def _leaf(found: Data, *, bundle: bytes, make: Callable[[], Signed], now: datetime) -> Data:
    try:
        if is_signed_by_one_of(found["tls.crt"], bundle):
            if found["ca.crt"] != bundle:
                # Alone at first: with a certificate of the new authority besides, whoever has not
                # read the new bundle yet would be refused, or refuse it.
                return {**found, "ca.crt": bundle}
            if not is_due(found["tls.crt"], now):
                return found
    except (KeyError, ValueError):
        pass  # it holds no certificate
    made = make()
    return {"ca.crt": bundle, "tls.crt": made.certificate, "tls.key": made.key}


def _chap_keys(found: Data, *, wanted: str) -> Data:
    """The keys k1, k2 and so on, of which storage hosts use the last; publications may need the one
    before.

    A key is asked for by its name, so that a rotation that is asked for again, as its first answer
    was lost, does not drop the key in use.
    """
    last = max(found, key=key_order, default="k0")
    if _number(wanted) <= _number(last):
        return found
    if _number(wanted) > _number(last) + 1:
        raise DriverError(
            f"The last CHAP key is {last}, so {wanted} cannot be the next: ask for "
            f"k{_number(last) + 1}."
        )
    kept = {last: found[last]} if found else {}
    return {**kept, wanted: secrets.token_hex(_CHAP_KEY_BYTES).encode()}


def _number(key_id: str) -> int:
    number = key_id.removeprefix("k")
    if not number.isdecimal():
        raise DriverError(
            f"There is no CHAP key {key_id!r}: keys are called k1, k2 and so on. Where Secret "
            f"{CHAP_KEYS} holds it, take it out when no publication needs it any more."
        )
    return int(number)
