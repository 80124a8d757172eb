"""The firewall's rules: packets from the WAN bridge to the WAN bridge go to the queue; drops between addresses.

Each rule carries the deployment's name in a comment, a drop its own name as well. That is all the state
there is: what a killed container left behind is found by it. The rule of the queue does nothing
meanwhile (--queue-bypass).
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from placer_wan.backend import must, run
from placer_wan.errors import WanError

CHAIN = "DOCKER-USER"
VARIANTS = ("iptables-nft", "iptables-legacy")
RULES_MAX = 10_000


def comment(deployment: str) -> str:
    """Marks the rules of a deployment."""
    return f"io.placer.deployment={deployment}"


def named(mark: str, name: str) -> str:
    """Marks the rules of one drop."""
    return f"{mark} drop={name}"


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


def drop(sources: Sequence[str], destinations: Sequence[str], mark: str) -> None:
    """Drop what goes from any of the sources to any of the destinations: a rule a pair, before all others."""
    match = ["-s", ",".join(sources), "-d", ",".join(destinations)]
    rules = [*match, "-m", "comment", "--comment", mark, "-j", "DROP"]
    command = [variant(), "-w", "5", "-I", CHAIN, "1", *rules]
    must(command, remedy="the kernel needs the comment match")


def matching(listing: str, mark: str, *, named_only: bool = False) -> list[str]:
    """The rules of an `iptables -S` listing that carry the mark, as lines of `iptables-restore` that delete them.

    A mark of the deployment also finds the drops, whose marks begin with it; `named_only`: only these.
    """
    rows = []
    for line in listing.splitlines():
        words = shlex.split(line)
        if words[:1] == ["-A"] and any(
            (word == mark and not named_only) or word.startswith(f"{mark} drop=") for word in words
        ):
            rows.append("-D" + line.removeprefix("-A"))
    return rows


def remove(mark: str, *, named_only: bool = False) -> int:
    """Remove every rule with the mark, in both iptables and in one go; returns how many there were."""
    removed = 0
    for candidate in VARIANTS:
        listing = run([candidate, "-w", "5", "-S", CHAIN])
        if listing.returncode != 0:
            continue
        if rows := matching(listing.stdout, mark, named_only=named_only)[:RULES_MAX]:
            must(
                [f"{candidate}-restore", "-w", "5", "--noflush"],
                text="\n".join(["*filter", *rows, "COMMIT", ""]),
                remedy=f"remove them by hand: {candidate} {rows[0]}",
            )
            removed += len(rows)
    return removed
