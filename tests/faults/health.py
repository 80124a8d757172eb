"""Whether the cluster is whole, by what every node says of every other.

A port that answers proves little. ``placer.store.cluster_views`` is the same gate that deployments wait
for: each node sees each other one up, its heartbeat advances, and all have one schema version.
"""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path

from faults.errors import FaultError
from faults.target import Member

LOOK_S = 1.0
READY_LOOK_S = 0.2


def wait_whole(nodes: Iterable[Member], run_dir: Path, seconds: float) -> float:
    """Wait until every node sees every node; the seconds that took. FaultError says who sees what else."""
    try:
        from placer.store import cluster_views  # its driver is slow to import, and ./demo lacks it
    except ImportError:
        raise FaultError(
            "The nodes' views cannot be read here: the Cassandra driver is not installed.",
            "Use the environment of ./test, or wait by `placer cluster wait`.",
        ) from None
    expected = [
        cluster_views.Node(
            name=node.name, contact=node.address, address=node.wan_address or node.address
        )
        for node in nodes
    ]
    if not expected:
        raise FaultError("There is no node to wait for.", "Deploy first.")
    secret = (run_dir / "secrets" / "cassandra_admin").read_text().strip()
    started = time.monotonic()
    while True:
        state = cluster_views.look(expected, [("placer_admin", secret)])
        took = time.monotonic() - started
        if not state.problems:
            return took
        if took >= seconds:
            raise FaultError(
                f"The cluster is not whole after {seconds:g} s: {'; '.join(state.problems[:5])}.",
                "See docker ps --all and the nodes' logs; heal what is left of faults.",
            )
        time.sleep(LOOK_S)


def wait_ready(services: Iterable[Member], seconds: float) -> float:
    """Wait until every service says itself that it serves; the seconds that took."""
    started = time.monotonic()
    left = [service for service in services if service.port and service.address]
    while left:
        left = [service for service in left if not _ready(service)]
        took = time.monotonic() - started
        if left and took >= seconds:
            names = ", ".join(service.name for service in left)
            raise FaultError(f"Not ready after {seconds:g} s: {names}.", "See docker logs of it.")
        if left:
            time.sleep(READY_LOOK_S)
    return time.monotonic() - started


def _ready(service: Member) -> bool:
    try:
        url = f"http://{service.address}:{service.port}/readyz"
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
