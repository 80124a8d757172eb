"""What the tests of the machines share."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Iterator

import httpx
import pytest
from droplets import PRIVATE, RUN_DIR, SSH_CONFIG, answers

from lab import until

TUNNEL_S = 30.0


@pytest.fixture(scope="session")
def api() -> Iterator[httpx.Client]:
    """The API, by a tunnel: it listens on the private network, and who deploys is not in it."""
    with contextlib.closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    forward = f"127.0.0.1:{port}:{PRIVATE['nyc1-r1']}:8700"
    command = ["ssh", "-F", str(SSH_CONFIG), "-N", "-S", "none", "-L", forward, "nyc1-r1"]
    token = (RUN_DIR / "secrets" / "api_token").read_text().strip()
    with subprocess.Popen(command) as tunnel:
        try:
            until(lambda: answers("127.0.0.1", port), seconds=TUNNEL_S, what="the tunnel is open")
            yield httpx.Client(
                base_url=f"http://127.0.0.1:{port}",
                headers={"Authorization": f"Bearer {token}"},
                timeout=60,
            )
        finally:
            tunnel.terminate()
