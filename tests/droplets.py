"""The machines of the scenario, and how a test reaches them: over SSH, as the user who deploys."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from deployment import ROOT

DEPLOYMENT = "droplets-test"
RUN_DIR = Path(os.environ.get("MOLECULE_PROJECT_DIRECTORY", ROOT)) / ".demo-molecule-droplets"
SSH_CONFIG = RUN_DIR / "ssh" / "config"
MEMORY_MIB = 512
#: Names, with their addresses on the public and on the private network.
PUBLIC = {f"nyc1-r{n}": f"10.103.0.1{n}" for n in (1, 2, 3)}
PRIVATE = {f"nyc1-r{n}": f"10.103.1.1{n}" for n in (1, 2, 3)}
#: Which of them runs which of the cell's services.
SERVICES = {"nyc1-r1": "api-1", "nyc1-r2": "scheduler-1", "nyc1-r3": "agent-1"}
PORTS = {"api-1": {8700}, "scheduler-1": {8790, 8890}, "agent-1": set()}

#: For `testinfra_hosts`: every machine, by the ssh of the controller and with sudo.
HOSTS = [f"ssh://{name}?ssh_config={SSH_CONFIG}&sudo=true&timeout=30" for name in PUBLIC]


def answers(address: str, port: int) -> bool:
    """Whether something takes connections there, as seen from the machine that runs Ansible."""
    try:
        with socket.create_connection((address, port), timeout=2):
            return True
    except OSError:
        return False
