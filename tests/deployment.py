"""A running deployment, as the tests see it: its containers, its addresses, its secrets.

Which one is said by the environment (tests/suites/cluster.py sets it), so that the same tests look at
the demo and at Molecule's cluster.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from cassandra import AuthenticationFailed
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import (
    EXEC_PROFILE_DEFAULT,
    Cluster,
    ExecutionProfile,
    NoHostAvailable,
    Session,
)
from cassandra.policies import FallthroughRetryPolicy, WhiteListRoundRobinPolicy

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Deployment:
    """Everything labelled ``io.placer.deployment=<name>`` on this machine, and its run directory."""

    name: str
    run_dir: Path
    port_base: int

    @property
    def label(self) -> str:
        return f"io.placer.deployment={self.name}"

    @cached_property
    def containers(self) -> dict[str, dict[str, Any]]:
        """Name -> what the engine says of it; stopped ones too."""
        names = docker("ps", "--all", "--quiet", "--filter", f"label={self.label}").split()
        if not names:
            return {}
        found: list[dict[str, Any]] = json.loads(docker("inspect", *names))
        return {item["Name"].removeprefix("/"): item for item in found}

    @property
    def nodes(self) -> list[str]:
        """Containers of Cassandra nodes."""
        return sorted(
            name
            for name, container in self.containers.items()
            if container["Config"]["Labels"].get("io.placer.role") == "cassandra"
        )

    @property
    def cells(self) -> list[str]:
        return sorted({self.cell_of(node) for node in self.nodes})

    def cell_of(self, container: str) -> str:
        """The cell that a node or a process belongs to; empty for what serves all of them."""
        label: str = self.containers[container]["Config"]["Labels"].get("io.placer.cell", "")
        return label

    def nodes_of(self, cell: str) -> list[str]:
        return [node for node in self.nodes if self.cell_of(node) == cell]

    def region_of(self, cell: str) -> str:
        """The region of a cell: its private network's name without the deployment's."""
        networks = self.containers[self.nodes_of(cell)[0]]["NetworkSettings"]["Networks"]
        private = next(name for name in networks if not name.endswith("-wan"))
        return str(private.removeprefix(f"{self.name}-"))

    @property
    def regions(self) -> list[str]:
        return sorted({self.region_of(cell) for cell in self.cells})

    def cells_of(self, region: str) -> list[str]:
        return [cell for cell in self.cells if self.region_of(cell) == region]

    def look_again(self) -> Deployment:
        """The same deployment with what runs now: ``containers`` is read once."""
        return replace(self)

    @property
    def api_urls(self) -> dict[str, str]:
        """Cell -> where its API answers on this machine."""
        urls = {}
        for name, container in self.containers.items():
            if match := re.fullmatch(rf"{self.name}-(.+)-api-1", name):
                for bindings in container["NetworkSettings"]["Ports"].values():
                    for binding in bindings or []:
                        urls[match.group(1)] = f"http://127.0.0.1:{binding['HostPort']}"
        return urls

    def secret(self, name: str) -> str:
        return (self.run_dir / "secrets" / name).read_text().strip()


def docker(*arguments: str, check: bool = True, seconds: float = 60) -> str:
    """Output of a docker command; bounded, and an error says what the command said."""
    done = subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, timeout=seconds, check=False
    )
    if check and done.returncode:
        raise AssertionError(f"docker {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def racks(deployment: Deployment) -> dict[str, tuple[str, str]]:
    """Node -> its cell and rack, as its container is configured."""
    found = {}
    for node in deployment.nodes:
        mounts = deployment.containers[node]["Mounts"]
        folder = next(m["Source"] for m in mounts if m["Destination"] == "/etc/placer/cassandra")
        lines = (Path(folder) / "cassandra-rackdc.properties").read_text().splitlines()
        rack = next(line.partition("=")[2] for line in lines if line.startswith("rack="))
        found[node] = (deployment.cell_of(node), rack)
    return found


def address(deployment: Deployment, node: str) -> str:
    """A node's private address: on the network of its region, not on the WAN."""
    networks = deployment.containers[node]["NetworkSettings"]["Networks"]
    return next(
        str(network["IPAddress"]) for name, network in networks.items() if not name.endswith("-wan")
    )


def cql(
    deployment: Deployment,
    node: str,
    statement: str,
    user: str = "placer_admin",
    password: str | None = None,
) -> list[Any]:
    """Rows of ``statement`` as this one node answers it. Raises PermissionError for a refused login."""
    host = address(deployment, node)
    profile = ExecutionProfile(
        load_balancing_policy=WhiteListRoundRobinPolicy([host]), request_timeout=20
    )
    secret = deployment.secret("cassandra_admin") if password is None else password
    cluster = Cluster(
        [host],
        auth_provider=PlainTextAuthProvider(user, secret),
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        protocol_version=5,
        connect_timeout=20,
        # For one statement: nothing of the tables and the ring is to be read first.
        schema_metadata_enabled=False,
        token_metadata_enabled=False,
    )
    try:
        return list(cluster.connect().execute(statement))
    except NoHostAvailable as error:
        if any(isinstance(cause, AuthenticationFailed) for cause in error.errors.values()):
            raise PermissionError(f"{node} refused {user}") from error
        raise
    finally:
        cluster.shutdown()


@contextmanager
def session_on(
    deployment: Deployment, node: str, user: str = "placer_admin", secret: str = "cassandra_admin"
) -> Iterator[Session]:
    """A session with this one node as coordinator, which tries nothing twice."""
    host = address(deployment, node)
    profile = ExecutionProfile(
        load_balancing_policy=WhiteListRoundRobinPolicy([host]),
        retry_policy=FallthroughRetryPolicy(),
        request_timeout=20,
    )
    cluster = Cluster(
        [host],
        protocol_version=5,
        auth_provider=PlainTextAuthProvider(user, deployment.secret(secret)),
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        connect_timeout=20,
        # What is asked here needs neither the tables nor the ring, which are much to read.
        schema_metadata_enabled=False,
        token_metadata_enabled=False,
    )
    try:
        yield cluster.connect()
    finally:
        cluster.shutdown()


def gossip_view(deployment: Deployment, node: str) -> dict[str, str]:
    """Address -> status of every member, as ``node`` sees them."""
    # Of its peers a node keeps only the newer of the two fields that say the status.
    query = "SELECT address, status_with_port FROM system_views.gossip_info"
    rows = cql(deployment, node, query)
    return {str(row.address): str(row.status_with_port).partition(",")[0] for row in rows}
