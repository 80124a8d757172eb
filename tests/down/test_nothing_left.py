"""After down: nothing that carries the deployment's label, no process, no rule, no port."""

from __future__ import annotations

import shutil
import socket
import subprocess

import pytest

from deployment import Deployment, docker


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(
    "listing",
    [
        pytest.param(("ps", "--all"), id="containers"),
        pytest.param(("network", "ls"), id="networks"),
        pytest.param(("volume", "ls"), id="volumes"),
    ],
)
def test_no_object_is_left(deployment: Deployment, listing: tuple[str, ...]) -> None:
    """Everything the deployment made in the engine is gone, volumes included."""
    assert docker(*listing, "--quiet", "--filter", f"label={deployment.label}") == ""


def test_no_port_is_held(deployment: Deployment) -> None:
    """The ports of all cells can be bound again."""
    for index in range(1, 4):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", deployment.port_base + index))


def test_no_firewall_rule_is_left(deployment: Deployment) -> None:
    """The emulated WAN took its rules along."""
    tool = shutil.which("iptables-save")
    if tool is None:
        pytest.skip("no iptables-save on this machine: the rules live in Docker's own container")
    rules = subprocess.run([tool], capture_output=True, text=True, timeout=30, check=True).stdout
    assert deployment.label not in rules


def test_no_process_is_left(deployment: Deployment) -> None:
    """No process still names the deployment's run directory or label on its command line."""
    left = []
    for line in subprocess.run(
        ["ps", "-eo", "pid=,args="], capture_output=True, text=True, timeout=30, check=True
    ).stdout.splitlines():
        if deployment.label in line or f"--name {deployment.name}-" in line:
            left.append(line)
    assert left == []
