"""tgtd: whether it runs, which version it is, how it was started, and where it listens."""

import asyncio
import ipaddress
import re
from collections.abc import Sequence
from pathlib import Path

from csi_lvm_iscsi.commands.runner import Where
from csi_lvm_iscsi.diagnosis.host import Host, Process
from csi_lvm_iscsi.model.errors import DriverError, Unavailable
from csi_lvm_iscsi.model.findings import Finding, error, ok, warning
from csi_lvm_iscsi.storage.tgt.socket import SOCKET, Management, Mode, Op
from csi_lvm_iscsi.storage.tgt.version import DISCARDS_SINCE, parse_version

_ANSWER_SECONDS = 10.0
_ISCSI_PORT = 3260
_OLDEST = (1, 0, 85)
_START = "tgtd --iscsi portal=127.0.0.1:3299 -t 4"
_DISABLE = "systemctl disable --now tgt.service"
_DROP_IN = "/etc/systemd/system/tgt.service.d"
# Debian's unit loads targets.conf after the start, and deletes all targets before the end.
_FIX_UNIT = (
    f"mkdir -p {_DROP_IN} && printf '%s\\n' '[Unit]' StartLimitIntervalSec=0 '[Service]' "
    f"ExecStart= 'ExecStart=/usr/sbin/{_START.replace('tgtd', 'tgtd -f', 1)}' ExecStartPost= "
    f"ExecStop= Restart=always RestartSec=200ms > {_DROP_IN}/csi-lvm-iscsi.conf && "
    "systemctl daemon-reload && systemctl restart tgt"
)


def management_socket(host: Host) -> Path:
    """The socket of the tgtd that runs. Seen as tgtd sees it: it may run in a container of its own,
    and the doctor in another."""
    for process in host.processes("tgtd"):
        # Not by /var/run, which is an absolute link there and would lead to ours.
        socket = host.root / f"proc/{process.pid}/root/run/tgtd" / SOCKET.name
        if socket.exists():
            return socket
    return SOCKET


class TgtChecks:
    """The checks of tgtd."""

    def __init__(self, host: Host, management: Management) -> None:
        self._host = host
        self._management = management
        self._silent = False

    async def daemon(self) -> Sequence[Finding]:
        """It runs, answers, and was started so that its exports can be rebuilt unseen."""
        process = self._process()
        if process is None:
            return [self._absent()]
        try:
            await self._ask(process, Mode.SYSTEM)
        except DriverError as failure:
            self._silent = True
            return [_silent(process, failure)]
        return [*await self._version(process), self._started(process)]

    async def unit(self) -> Sequence[Finding]:
        """Debian's tgt.service is not made for this."""
        if not self._host.has_systemd:
            return []
        said = (await self._host.run("systemctl", "show", "tgt.service")).stdout
        unit = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
        running = unit.get("ActiveState") == "active"
        if not running and unit.get("UnitFileState") != "enabled":
            return [ok("tgt.service", "not enabled")]
        process = self._process()
        if process is not None and str(process.pid) != unit.get("MainPID"):
            return [
                error(
                    "tgt.service",
                    "enabled, though another tgtd runs: at the next boot both want the same port",
                    _DISABLE,
                )
            ]
        if self._host.in_container:
            return [
                error(
                    "tgt.service",
                    "enabled, though the chart brings a tgtd: both want the same port",
                    _DISABLE,
                )
            ]
        if any(
            line.startswith(("ExecStop=", "ExecStartPost=")) and "tgt-admin" in line
            for line in said.splitlines()
        ):
            return [
                warning(
                    "tgt.service",
                    "deletes all targets when it is stopped, and loads targets.conf: sessions are "
                    "cut for longer than they need be",
                    _FIX_UNIT,
                )
            ]
        return [ok("tgt.service", "changed for this driver")]

    async def portals(self) -> Sequence[Finding]:
        """Tgtd listens where nodes come, and nobody else does."""
        process = self._process()
        if self._silent:
            return []  # told already
        if process is None:
            return _taken(self._host, _ISCSI_PORT)
        text = await self._ask(process, Mode.PORTAL)
        portals = re.findall(r"^Portal: (.*),\d+$", text, re.MULTILINE)
        outside = [portal for portal in portals if not _is_local(portal)]
        if outside:
            return [ok("portals", f"tgtd listens on {', '.join(outside)}")]
        taken = _taken(self._host, _ISCSI_PORT)
        if taken:
            return taken
        if self._host.role("storage") is None:
            return [ok("portals", "none yet: the role storage opens them")]
        return [
            error(
                "portals",
                "tgtd listens on no address that nodes reach, though the role storage runs: its "
                "log tells why (the exports are not whole yet, or an address is not this host's)",
                "ip -brief address",
            )
        ]

    def _process(self) -> Process | None:
        return next(iter(self._host.processes("tgtd")), None)

    def _absent(self) -> Finding:
        """Under the chart, whose image the doctor is in then, the host has no tgtd of its own."""
        if self._host.in_container:
            if self._host.role("storage") is None:
                return ok("tgtd", "does not run yet: the chart brings it")
            return error(
                "tgtd",
                "does not run: no volume can be used. The log of the host's pod csi-lvm-iscsi-tgtd "
                "tells why",
                "crictl ps --all --name tgtd",
            )
        if self._host.missing("tgtd"):
            return error("tgtd", "tgtd not installed", "apt-get install --yes tgt")
        return error("tgtd", "does not run: no volume can be used", self._start())

    def _start(self) -> str:
        unit = self._host.has_systemd and (self._host.root / _DROP_IN.lstrip("/")).is_dir()
        return "systemctl start tgt" if unit else _START

    async def _ask(self, process: Process, mode: Mode) -> str:
        """Raises DriverError where tgtd does not answer; at once where it cannot."""
        if process.stopped:
            raise Unavailable("it is stopped")
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await self._management.request(mode, Op.SHOW)
        except TimeoutError:
            raise Unavailable(f"no answer within {_ANSWER_SECONDS:g} s") from None

    async def _version(self, process: Process) -> Sequence[Finding]:
        """Asked of the program that the process sees: tgtd may run in a container of its own."""
        completed = await self._host.run(
            *("nsenter", f"--target={process.pid}", "--mount", "--", "tgtd", "--version"),
            where=Where.HERE,
        )
        try:
            number = parse_version(completed.stdout)
        except DriverError:
            return [warning("tgtd", f"version unknown: {completed.stderr.strip()}", "tgtd -V")]
        version = ".".join(map(str, number))
        if number < _OLDEST:
            return [
                warning(
                    "tgtd",
                    f"version {version}: 1.0.85 is the oldest tried",
                    "apt-get install --yes tgt",
                )
            ]
        if number < DISCARDS_SINCE:
            return [ok("tgtd", f"version {version}: no discard (UNMAP), which came with 1.0.90")]
        return [ok("tgtd", f"version {version}")]

    def _started(self, process: Process) -> Finding:
        """A portal that is open before the targets are there makes initiators come back 14 s
        later."""
        check = "tgtd's start"
        words = " ".join(process.argv)
        # In the foreground or not it does not matter; SIGTERM does not end it.
        again = f"kill -9 {process.pid}; tail --pid={process.pid} -f /dev/null; {_START}"
        fix = again
        if self._host.has_systemd:
            fix = _DISABLE if self._host.in_container else _FIX_UNIT
        portal = re.search(r"portal=([^ ,]+)", words)
        if portal is None or not _is_local(portal[1]):
            where = portal[1] if portal else f"0.0.0.0:{_ISCSI_PORT}"
            return warning(
                check,
                f"listens on {where} from its start, before exports are rebuilt: nodes come back "
                f"14 s later than they could. Start it as `{_START}`",
                fix,
            )
        if re.search(r" (-t|--nr_iothreads)[ =]?\d", words) is None:
            return warning(check, f"16 threads for each volume (-t): start it as `{_START}`", fix)
        return ok(check, words)


def _silent(process: Process, failure: DriverError) -> Finding:
    if process.hangs:
        # No signal reaches what waits in the kernel.
        fix = f"kill -CONT {process.pid}" if process.stopped else "dmesg --level err,warn"
        return error("tgtd", f"process {process.pid} {process.hangs}", fix)
    return error("tgtd", f"process {process.pid}: {failure}", f"kill -9 {process.pid}")


def _is_local(portal: str) -> bool:
    address = portal.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _taken(host: Host, port: int) -> list[Finding]:
    """Findings of others who listen on the port."""
    findings = []
    for _, process in host.listeners(port):
        if process is None:
            findings.append(
                error(
                    "portals",
                    f"the kernel's iSCSI target (LIO) has port {port}: take that portal away there",
                    "ls -d /sys/kernel/config/target/iscsi/iqn*/tpgt_*/np/*",
                )
            )
        elif process.name != "tgtd":
            findings.append(
                error(
                    "portals",
                    f"port {port} is taken by process {process.pid} ({process.name})",
                    f"kill {process.pid}",
                )
            )
    return findings
