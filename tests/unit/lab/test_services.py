"""Which services a host runs, and the scripts that become them."""

import subprocess

import pytest

from tests.e2e.lab.services import Service, services
from tests.e2e.lab.topology import HostName


@pytest.mark.parametrize(
    ("name", "roles"),
    [
        ("storage-1", ["storage", "controller"]),
        ("storage-2", ["storage"]),
        ("compute-1", ["node"]),
    ],
)
def test_roles_come_on_top_of_what_a_bare_host_has(name: str, roles: list[str]) -> None:
    host = HostName.parse(name)
    bare = [service.name for service in services(host, "bare")]
    assert [service.name for service in services(host, "roles")] == bare + roles


def test_script_becomes_the_command_with_its_arguments_intact() -> None:
    arguments = ("a b", "", "$HOME", "it's")
    service = Service("echo", ("printf", "%s|", *arguments), needs="/etc/passwd")
    done = subprocess.run(
        ["sh"], input=service.script(), capture_output=True, text=True, check=True
    )
    assert done.stdout == "a b||$HOME|it's|"


def test_the_portal_networks_become_options() -> None:
    service = Service("echo", ("printf", "%s|"), portal_networks="192.0.2.0/24")
    done = subprocess.run(
        ["sh"], input=service.script(), capture_output=True, text=True, check=True
    )
    assert done.stdout == "--portal-network|192.0.2.0/24|"
