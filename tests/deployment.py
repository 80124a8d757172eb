"""A running deployment, as the tests see it: its containers, its addresses, its secrets.

Which one is said by the environment (tests/suites/cluster.py sets it), so that the same tests look at
the demo and at Molecule's cluster.
"""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cassandra import AuthenticationFailed
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable
from cassandra.policies import WhiteListRoundRobinPolicy

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
        """Containers of Cassandra nodes: <deployment>-<cell>-r<rack>."""
        return sorted(name for name in self.containers if re.search(r"-r\d+$", name))

    @property
    def cells(self) -> list[str]:
        return sorted({name.removeprefix(f"{self.name}-").rsplit("-", 1)[0] for name in self.nodes})

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


def docker(*arguments: str, check: bool = True) -> str:
    """Output of a docker command; bounded, and an error says what the command said."""
    done = subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    if check and done.returncode:
        raise AssertionError(f"docker {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


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
    )
    try:
        return list(cluster.connect().execute(statement))
    except NoHostAvailable as error:
        if any(isinstance(cause, AuthenticationFailed) for cause in error.errors.values()):
            raise PermissionError(f"{node} refused {user}") from error
        raise
    finally:
        cluster.shutdown()


def gossip_view(deployment: Deployment, node: str) -> dict[str, str]:
    """Address -> status of every member, as ``node`` sees them."""
    # Of its peers a node keeps only the newer of the two fields that say the status.
    query = "SELECT address, status_with_port FROM system_views.gossip_info"
    rows = cql(deployment, node, query)
    return {str(row.address): str(row.status_with_port).partition(",")[0] for row in rows}
