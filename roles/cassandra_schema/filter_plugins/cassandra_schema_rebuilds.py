# SPDX-License-Identifier: Apache-2.0
"""Which node streams which keyspace from where, once a datacenter was added to the replication of some keyspaces."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleFilterError


def cassandra_schema_rebuilds(
    cells: list[dict[str, Any]], rebuild: dict[str, list[str]]
) -> list[dict[str, Any]]:
    """One entry {keyspace, node, source} for each keyspace and node of a datacenter in `rebuild` ({keyspace: [datacenter]})."""
    steps = []
    for keyspace, new in sorted(rebuild.items()):
        sources = [cell["datacenter"] for cell in cells if cell["datacenter"] not in new]
        if not sources:
            raise AnsibleFilterError(
                f"keyspace {keyspace} is new to every datacenter, so that none can be its source"
            )
        steps += [
            {"keyspace": keyspace, "node": node, "source": sources[0]}
            for cell in cells
            if cell["datacenter"] in new
            for node in cell["nodes"]
        ]
    return steps


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Any]:
        return {"cassandra_schema_rebuilds": cassandra_schema_rebuilds}
