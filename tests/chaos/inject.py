"""A planned fault, made: each kind by the context manager that heals it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from chaos.plan import Fault, Site
from faults import Cluster

#: When a fault ends by itself if this runner dies: this long after it should have been healed.
BOUND_S = 60.0


def made(cluster: Cluster, fault: Fault) -> AbstractContextManager[object]:
    """The fault, on while inside. Raises KeyError for a kind that has no maker."""
    params, seconds = fault.params, fault.least_s + BOUND_S
    verb, _, role = fault.kind.partition("-")
    if role in ("node", "scheduler", "api", "agent"):
        names = [str(params["name"])]
        match verb:
            case "kill":
                return cluster.stopped(names, seconds=seconds)
            case "pause" | "zombie":
                return cluster.paused(names, seconds=seconds)
            case "restart":
                return cluster.restarted(names)
            case "crash":
                return cluster.crashing(names[0], str(params["point"]), seconds=seconds)
            case "skew":
                return cluster.skewed(names[0], float(params["by_s"]), seconds=seconds)
            case "full":
                return cluster.full(names[0], "journal", seconds=seconds)
    makers: dict[str, Callable[..., AbstractContextManager[object]]] = {
        "partition": cluster.cut,
        "one-way": cluster.cut_one_way,
        "flap": cluster.flapping,
        "ring": cluster.ring,
        "bridge": cluster.bridge,
        "slow": cluster.slow,
    }
    return makers[fault.kind](**params, seconds=seconds)


def site(cluster: Cluster) -> Site:
    """Whom a run may hit in this deployment. Agents that a test added are left alone."""
    members = {member.name: member for member in cluster.members()}

    def named(role: str) -> tuple[str, ...]:
        return tuple(name for name in cluster.names(role) if members[name].kept)

    return Site(
        regions=tuple(cluster.regions()),
        cells=tuple(cluster.cells()),
        nodes=named("node"),
        schedulers=named("scheduler"),
        apis=named("api"),
        agents=named("agent"),
        region_of={name: member.region for name, member in members.items()},
    )
