"""The doctor on real hosts: healthy ones, and with ailments that its fixes, as printed, end."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.ailments import AILMENTS, Ailment
from tests.e2e.driver import Driver, Volume
from tests.e2e.lab.host import Host
from tests.e2e.lab.lab import Lab
from tests.e2e.lab.services import CHECKOUT

TRANSCRIPTS = CHECKOUT / "tests" / "unit" / "diagnosis" / "transcripts"
HOSTS = {"storage": "storage-1", "node": "compute-1"}
PORTAL = "10.77.0.11:3260"
SETTLE_SECONDS = 30.0


@pytest.fixture
def record(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--record"))


def python(host: Host, *arguments: str) -> str:
    result = host.exec("env", f"PYTHONPATH={CHECKOUT}", sys.executable, "-m", *arguments)
    assert result.stdout, result.stderr.decode()
    return result.text


def doctor(host: Host, role: str, *options: str) -> list[dict[str, str]]:
    said = python(host, "csi_lvm_iscsi", "doctor", role, "--output", "json", *options)
    findings: list[dict[str, str]] = json.loads(said)["findings"]
    return findings


def save(name: str, host: Host, role: str, *options: str) -> None:
    said = json.loads(python(host, "tests.unit.diagnosis.record", role, *options))
    TRANSCRIPTS.mkdir(exist_ok=True)
    (TRANSCRIPTS / f"{name}.json").write_text(json.dumps(said, indent=1) + "\n")


def shell(host: Host, script: str) -> None:
    directory = Path(sys.executable).parent
    host.exec("bash", "-c", f"PATH=$PATH:{directory}\n{script}").check()


@pytest.mark.parametrize("role", ["storage", "node"])
def test_a_healthy_host_has_no_error(lab: Lab, role: str, *, record: bool) -> None:
    host = lab.host(HOSTS[role])
    assert [each for each in doctor(host, role) if each["level"] == "error"] == []
    if record:
        save(f"healthy-{role}", host, role)


@pytest.mark.parametrize("ailment", AILMENTS, ids=lambda each: each.name)
def test_an_ailment_is_found_and_its_fix_ends_it(
    lab: Lab, driver: Driver, name: Callable[[], str], ailment: Ailment, *, record: bool
) -> None:
    host = lab.host(HOSTS[ailment.role])

    def found() -> dict[str, str] | None:
        findings = doctor(host, ailment.role, *ailment.options)
        bad = (each for each in findings if each["check"] == ailment.check and each["fix"])
        return next(bad, None)

    with volume_where(driver, name, wanted=ailment.volume) as places:
        try:
            shell(host, _filled(ailment.make, places))
            finding = found()
            if record:
                save(ailment.name, host, ailment.role, *ailment.options)
            assert finding is not None
            assert finding["level"] == ailment.level
            assert ailment.says in finding["found"]
            if ailment.repairs:
                shell(host, finding["fix"])
                assert until_none(found) is None
            elif finding["fix"].startswith("kill"):
                shell(host, finding["fix"])
        finally:
            shell(host, _filled(ailment.clear, places))
            for each in lab.hosts.values():
                each.wait_ready(SETTLE_SECONDS)


def until_none(found: Callable[[], dict[str, str] | None]) -> dict[str, str] | None:
    """What is still found after a while: a role that was started again takes a moment."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while (finding := found()) and time.monotonic() < deadline:
        time.sleep(1)
    return finding


@contextmanager
def volume_where(
    driver: Driver, name: Callable[[], str], *, wanted: bool
) -> Iterator[dict[str, Any]]:
    """A raw block volume that is staged on compute-1, where one is wanted."""
    if not wanted:
        yield {"portal": PORTAL}
        return
    volume: Volume = driver.create(name())
    driver.publish(volume, "compute-1")
    driver.stage(volume, "compute-1")
    try:
        yield {"portal": PORTAL, "target": volume.contexts["compute-1"]["target"]}
    finally:
        driver.unstage(volume, "compute-1")
        driver.unpublish(volume, "compute-1")
        driver.delete(volume)


def _filled(script: str, places: dict[str, Any]) -> str:
    for key, value in places.items():
        script = script.replace(f"{{{key}}}", value)
    return script
