"""CHAP credentials: derived on both ends, stored on neither, never in the API."""

import hashlib
import hmac
import re
import secrets

from csi_lvm_iscsi.model import names


def new_nonce() -> str:
    """A fresh nonce, 16 hexadecimal digits: each publication has its own, so that the password of
    an earlier one is dead even when the volume returns to the same node."""
    return secrets.token_hex(8)


def user(volume: str, nonce: str) -> str:
    """The CHAP user of one publication.

    tgtd's accounts are global: the volume's serial in front tells whose account it is. The first
    character is a letter, as some targets read `0x` and `0b` at the start as an encoding.
    """
    return f"{user_prefix(volume)}{nonce}"


def user_prefix(volume: str) -> str:
    """What the CHAP users of all publications of a volume begin with."""
    return f"v{names.serial(volume)}-"


def is_user(name: str) -> bool:
    """Whether an account of tgtd can be one of ours."""
    return re.fullmatch(r"v[0-9a-f]{31}-[0-9a-f]{16}", name) is not None


def password(key: bytes, volume: str, node: str, nonce: str) -> str:
    """The CHAP password of one publication: 32 hexadecimal digits (128 bits)."""
    message = f"{volume}\0{node}\0{nonce}".encode()
    return hmac.new(key, message, hashlib.sha256).hexdigest()[:32]
