"""/healthz and /metrics, over real sockets."""

import asyncio
import contextlib
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


async def test_those_who_connect_and_are_silent_keep_nobody_from_asking() -> None:
    """kubelet among those: a probe that gets no answer restarts the role."""
    with http.serving("127.0.0.1", 0, CollectorRegistry()) as port:
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(http._AT_ONCE)]
        assert await asyncio.to_thread(get, port, "/healthz") == (200, "ok\n")
        # It was in the place of the oldest, and the others go on.
        assert await asyncio.wait_for(silent[0][0].read(), 10) == b""
        reader, writer = silent[-1]
        writer.write(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert (await asyncio.wait_for(reader.read(), 10)).startswith(b"HTTP/1.0 200 ")
        for _, each in silent:
            each.close()


async def test_who_asks_slowly_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """However soon each byte comes after the one before."""
    monkeypatch.setattr(http, "_REQUEST_SECONDS", 0.3)
    with http.serving("127.0.0.1", 0, CollectorRegistry()) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /healthz HTTP/1.0\r\nName: ")
        sending = asyncio.create_task(_send_slowly(writer))
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 10) == b""
        sending.cancel()
        writer.close()


async def _send_slowly(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"a")
        await asyncio.sleep(0.05)
