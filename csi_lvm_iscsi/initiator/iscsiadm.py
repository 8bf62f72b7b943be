"""The exit codes of iscsiadm, and what they mean to the user.

https://github.com/open-iscsi/open-iscsi/blob/2.1.8/include/iscsi_err.h
"""

import enum


class Exit(enum.IntEnum):
    """The codes that we act on or explain."""

    SUCCESS = 0  # ISCSI_SUCCESS
    SESSION_NOT_FOUND = 2  # ISCSI_ERR_SESS_NOT_FOUND
    TRANSPORT = 4  # ISCSI_ERR_TRANS
    LOGIN = 5  # ISCSI_ERR_LOGIN
    DATABASE = 6  # ISCSI_ERR_IDBM
    TIMEOUT = 8  # ISCSI_ERR_TRANS_TIMEOUT
    PDU_TIMEOUT = 11  # ISCSI_ERR_PDU_TIMEOUT
    TRANSPORT_NOT_FOUND = 12  # ISCSI_ERR_TRANS_NOT_FOUND
    SESSION_EXISTS = 15  # ISCSI_ERR_SESS_EXISTS
    DAEMON_TALK = 18  # ISCSI_ERR_ISCSID_COMM_ERR
    FATAL_LOGIN = 19  # ISCSI_ERR_FATAL_LOGIN
    NO_DAEMON = 20  # ISCSI_ERR_ISCSID_NOTCONN
    NO_OBJECTS = 21  # ISCSI_ERR_NO_OBJS_FOUND
    AUTHENTICATION = 24  # ISCSI_ERR_LOGIN_AUTH_FAILED
    BUSY = 28  # ISCSI_ERR_BUSY
    NOT_CONNECTED = 32  # ISCSI_ERR_SESSION_NOT_CONNECTED


_NO_DAEMON = "iscsid does not answer on this node: start it (systemctl start iscsid)"
_UNREACHABLE = (
    "the storage host does not answer: check that tgtd runs there and that this node reaches it"
)

_MEANING = {
    Exit.TRANSPORT: _UNREACHABLE,
    Exit.TIMEOUT: _UNREACHABLE,
    Exit.PDU_TIMEOUT: _UNREACHABLE,
    Exit.LOGIN: "the storage host refused the login: see its log",
    Exit.DATABASE: "its database of records could not be read or locked: call again",
    Exit.TRANSPORT_NOT_FOUND: "the kernel module iscsi_tcp is not loaded: modprobe iscsi_tcp",
    Exit.DAEMON_TALK: _NO_DAEMON,
    Exit.NO_DAEMON: _NO_DAEMON,
    Exit.FATAL_LOGIN: "the target is not there: the volume is not exported to this node any more",
    Exit.AUTHENTICATION: (
        "the target refused this node: it is not published here any more, or the CHAP key of "
        "the node is not that of the storage host"
    ),
    Exit.BUSY: (
        "the session is in use by a mount and iscsid.safe_logout is set in iscsid.conf: unmount "
        "it, or unset that"
    ),
    Exit.NOT_CONNECTED: (
        "iscsid was restarted while the session was cut and cannot end it before it is back: "
        "bring the storage host back, or restart this node"
    ),
}


def explain(code: int, said: str) -> str:
    """What an exit code means and what to do, with iscsiadm's own words."""
    meaning = _MEANING.get(Exit(code)) if code in list(Exit) else None
    lines = said.strip().splitlines() or ["nothing"]
    # Of a failed login or logout it tells which, then why, then sums up.
    words = next((line for line in lines if "reported error" in line), lines[0])
    return (
        f"{meaning or 'see the log of iscsid'} "
        f"(iscsiadm exit code {code}: {words.removeprefix('iscsiadm: ')})"
    )
