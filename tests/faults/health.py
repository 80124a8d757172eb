"""Whether the cluster is whole, by what every node says of every other.

A port that answers proves little. ``placer.store.cluster_views`` is the same gate that deployments wait
for: each node sees each other one up, its heartbeat advances, and all have one schema version.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from faults.errors import FaultError
from faults.target import Member

LOOK_S = 1.0


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
