"""The one firewall rule: packets from the WAN bridge to the WAN bridge go to the queue.

The rule carries the deployment's name in a comment. That is all the state there is: a rule left behind
by a killed container is found by it, and does nothing meanwhile (--queue-bypass).
"""

from __future__ import annotations

import shlex

from placer_wan.backend import must, run
from placer_wan.errors import WanError

CHAIN = "DOCKER-USER"
VARIANTS = ("iptables-nft", "iptables-legacy")
RULES_MAX = 1000


def comment(deployment: str) -> str:
    """Marks the rules of a deployment."""
    return f"io.placer.deployment={deployment}"


def variant() -> str:
    """The iptables that Docker uses: the one that knows its chain."""
    for candidate in VARIANTS:
        if run([candidate, "-w", "5", "-n", "-L", CHAIN]).returncode == 0:
            return candidate
    raise WanError(
        f"no firewall chain {CHAIN}", "start Docker Engine with iptables enabled (its default)"
    )


def rule(bridge: str, queue: int, mark: str) -> list[str]:
    """The rule without chain and position."""
    match = ["-i", bridge, "-o", bridge, "-m", "comment", "--comment", mark]
    return [*match, "-j", "NFQUEUE", "--queue-num", str(queue), "--queue-bypass"]


def add(bridge: str, queue: int, mark: str) -> None:
    """Put the rule first in the chain."""
    command = [variant(), "-w", "5", "-I", CHAIN, "1", *rule(bridge, queue, mark)]
    must(command, remedy="the kernel needs the NFQUEUE target and the comment match")


def matching(listing: str, mark: str) -> list[list[str]]:
    """The rules of an `iptables -S` listing that carry the mark, as arguments for -D."""
    rows = [shlex.split(line) for line in listing.splitlines()]
    return [row[1:] for row in rows if row[:1] == ["-A"] and mark in row]


def remove(mark: str) -> int:
    """Remove every rule with the mark, in both iptables; returns how many there were."""
    removed = 0
    for candidate in VARIANTS:
        listing = run([candidate, "-w", "5", "-S", CHAIN])
        if listing.returncode != 0:
            continue
        for row in matching(listing.stdout, mark)[:RULES_MAX]:
            must(
                [candidate, "-w", "5", "-D", *row],
                remedy=f"remove it by hand: {candidate} -D {shlex.join(row)}",
            )
            removed += 1
    return removed
