"""/healthz and /metrics, over real sockets."""

import asyncio
import threading
import urllib.error
import urllib.request

import pytest
from prometheus_client import CollectorRegistry, Gauge

from csi_lvm_iscsi.model.errors import DriverError
from csi_lvm_iscsi.rpc import http, metrics


def get(port: int, path: str, host: str = "127.0.0.1") -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


async def test_health_and_metrics_while_the_loop_answers() -> None:
    registry = CollectorRegistry()
    Gauge("answers", "To everything.", registry=registry).set(42)
    with http.serving("127.0.0.1", 0, registry) as port:
        assert await asyncio.to_thread(get, port, "/healthz") == (200, "ok\n")
        assert "answers 42.0" in (await asyncio.to_thread(get, port, "/metrics"))[1]
        assert (await asyncio.to_thread(get, port, "/"))[0] == 404


async def test_no_health_while_the_loop_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(metrics, "_SECONDS", 0.2)
    registry = CollectorRegistry()
    metrics.register(registry, lambda: ())
    asked = threading.Event()
    answers: list[tuple[int, str]] = []

    def ask() -> None:
        answers.extend(get(port, path) for path in ("/healthz", "/metrics"))
        asked.set()

    with http.serving("127.0.0.1", 0, registry) as port:
        threading.Thread(target=ask).start()
        asked.wait(20)  # the loop hangs here
    assert [status for status, _ in answers] == [503, 503]
    assert "did not answer within 0.2 s" in answers[0][1]


@pytest.mark.parametrize("host", ["::1", ""])
async def test_ipv6(host: str) -> None:
    with http.serving(host, 0, CollectorRegistry()) as port:
        assert (await asyncio.to_thread(get, port, "/healthz", "[::1]"))[0] == 200
        if not host:
            assert (await asyncio.to_thread(get, port, "/healthz"))[0] == 200


async def test_a_port_that_is_taken() -> None:
    with (
        http.serving("127.0.0.1", 0, CollectorRegistry()) as port,
        pytest.raises(DriverError, match=f"port {port}, cannot be listened on"),
        http.serving("127.0.0.1", port, CollectorRegistry()),
    ):
        pass


async def test_those_who_connect_and_are_silent_take_no_more_than_their_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http, "_AT_ONCE", 2)
    with http.serving("127.0.0.1", 0, CollectorRegistry()) as port:
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        reader, late = await asyncio.open_connection("127.0.0.1", port)
        assert await asyncio.wait_for(reader.read(), 10) == b""
        late.close()
        for _, writer in silent:
            writer.close()
            await writer.wait_closed()
        while (await asyncio.to_thread(_status, port)) != 200:
            pass


def _status(port: int) -> int:
    try:
        return get(port, "/healthz")[0]
    except OSError:  # it was closed: there is no turn yet
        return 0
