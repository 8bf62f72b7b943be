"""The command line: what may be left out, and what is refused."""

import pytest

from csi_lvm_iscsi.cli import _parser

NODE = ["node", "--endpoint", "unix:///x", "--node-id", "n", "--chap-keys", "/k"]
STORAGE = [
    "storage", "--node-id", "s", "--listen", ":1", "--tls-dir", "/t", "--chap-keys", "/k",
    "--portal-network", "10.77.0.0/24", "--thin-pool", "vg0/pool",
]  # fmt: skip


def test_a_node_without_a_zone() -> None:
    assert _parser().parse_args(NODE).zone == ""
    assert _parser().parse_args([*NODE, "--zone", "a"]).zone == "a"


def test_the_thresholds_of_thin_pools() -> None:
    given = _parser().parse_args(STORAGE)
    assert (given.stop_at, given.extend_at, given.extend_by) == (90, 70, 20)


@pytest.mark.parametrize(
    ("given", "host", "listen"),
    [
        ("10.77.0.11:9740", "10.77.0.11", "10.77.0.11:9740"),
        ("fd77::11:9740", "fd77::11", "[fd77::11]:9740"),  # as $(HOST_IP):9740 becomes
        ("[fd77::11]:9740", "fd77::11", "[fd77::11]:9740"),
        (":9740", "", ":9740"),
    ],
)
def test_addresses_of_both_families(given: str, host: str, listen: str) -> None:
    found = _parser().parse_args([*STORAGE, "--metrics", given, "--listen", given])
    assert found.metrics == (host, 9740)
    assert found.listen == listen


@pytest.mark.parametrize(
    "arguments",
    [
        [*NODE, "--zone", "a zone"],
        [*STORAGE, "--stop-at", "101"],
        [*STORAGE, "--extend-by", "0"],
        [*STORAGE, "--thin-pool", "vg0"],
        ["adopt", "volume-1"],
        [*STORAGE, "--metrics", "localhost"],
    ],
)
def test_what_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _parser().parse_args(arguments)
    assert "error: argument" in capsys.readouterr().err
