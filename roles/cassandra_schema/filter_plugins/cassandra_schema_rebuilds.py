# SPDX-License-Identifier: Apache-2.0
"""Which node streams which keyspace from where, once a datacenter was added to the replication of some keyspaces."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleFilterError


def cassandra_schema_rebuilds(
    cells: list[dict[str, Any]], rebuild: dict[str, list[str]], at_once: int
) -> list[list[dict[str, Any]]]:
    """Rounds of entries {keyspace, node, source}, for each keyspace and node of a datacenter in `rebuild` ({keyspace: [datacenter]}).

    A round is of one keyspace, so that it has no node twice, and of `at_once` nodes at most. The source is a datacenter of the node's
    own region where one has the keyspace, so that the data need not cross the WAN, else the first of all.
    """
    if at_once < 1:
        raise AnsibleFilterError(f"{at_once} nodes at once would never stream; use 1 or more")
    rounds = []
    for keyspace, new in sorted(rebuild.items()):
        old = [cell for cell in cells if cell["datacenter"] not in new]
        if not old:
            raise AnsibleFilterError(
                f"keyspace {keyspace} is new to every datacenter, so that none can be its source"
            )
        near = {cell["region"]: cell["datacenter"] for cell in reversed(old)}
        steps = [
            {
                "keyspace": keyspace,
                "node": node,
                "source": near.get(cell["region"], old[0]["datacenter"]),
            }
            for cell in cells
            if cell["datacenter"] in new
            for node in cell["nodes"]
        ]
        rounds += [steps[start : start + at_once] for start in range(0, len(steps), at_once)]
    return rounds


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Any]:
        return {"cassandra_schema_rebuilds": cassandra_schema_rebuilds}
