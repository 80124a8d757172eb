"""Faults of containers: killed, paused, restarted, and a node whose disk is lost.

A killed container stays down: the engine restarts what dies, not what was killed by hand. Each function
may be called twice, and takes the containers as it finds them.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from faults.engine import docker
from faults.errors import FaultError
from faults.target import Member, Role

DATA = "/var/lib/cassandra"
CONF = "/etc/cassandra/cassandra.yaml"
#: What an engine takes to stop a node gracefully, at most.
STOP_S = 30
PAUSE_TRIES = 10
PAUSE_AGAIN_S = 0.2


def kill(members: Iterable[Member]) -> None:
    """SIGKILL, as when the machine loses power: nothing is flushed."""
    unpause(members)
    if names := [member.name for member in members if member.state in ("running", "paused")]:
        docker("kill", *names)


def pause(members: Iterable[Member]) -> None:
    """Freeze: connections stay open and nothing is answered, as in a long stall."""
    for member in members:
        if member.state == "running":
            _pause(member.name)


def _pause(name: str) -> None:
    """The freezer gives up on a container of many threads when the machine is busy: tried a few times."""
    for left in reversed(range(PAUSE_TRIES)):
        try:
            docker("pause", name)
            return
        except FaultError as failed:
            if not left or "unable to freeze" not in failed.what:
                raise
            time.sleep(PAUSE_AGAIN_S)


def unpause(members: Iterable[Member]) -> None:
    if names := [member.name for member in members if member.state == "paused"]:
        docker("unpause", *names)


def start(members: Iterable[Member]) -> None:
    """Let it run, whatever it is now: frozen, killed, never started."""
    members = list(members)
    unpause(members)
    if names := [member.name for member in members if member.state not in ("running", "paused")]:
        docker("start", *names)


def restart(members: Iterable[Member]) -> None:
    """Stop as an operator does, and start again."""
    members = list(members)
    unpause(members)
    docker("restart", "--time", str(STOP_S), *(member.name for member in members))


def may_wipe(members: Sequence[Member], among: Sequence[Member]) -> None:
    """Raises FaultError for what is no node, and for the last nodes up in a cell: nobody else has their data."""
    chosen = {member.name for member in members}
    for member in members:
        if member.role is not Role.NODE:
            raise FaultError(f"{member.name} is no node.", "Only a node's disk can be wiped.")
        if not any(
            other.role is Role.NODE
            and other.cell == member.cell
            and other.state == "running"
            and other.name not in chosen
            for other in among
        ):
            raise FaultError(
                f"No other node of cell {member.cell} is up: its data would be lost for good.",
                "Wipe fewer nodes, or start the others first.",
            )


def wipe(members: Sequence[Member], among: Sequence[Member]) -> None:
    """Kill nodes and empty their disks; when started they take the place of who they were.

    Each start is a replacement: the node takes over its tokens and copies what others of its cell hold
    before it serves. Cassandra replaces one node of a data centre at a time: start them one by one.
    """
    kill(members)
    chosen = {member.name for member in members}
    for member in members:
        _empty(member)
        _replace_itself(member)
        for peer in among:
            beside = peer.role is Role.NODE and peer.cell == member.cell
            if beside and peer.state == "running" and peer.name not in chosen:
                _gossip_to(peer, member.wan_address or member.address)


def _gossip_to(peer: Member, address: str) -> None:
    """Have ``peer`` count a node that replaces itself among its seeds, until ``peer`` is restarted.

    Such a node hibernates until it has joined. Others take that for dead and, unless it is one of their
    seeds, never tell it of anybody: it gives up with "Unable to contact any seeds" (5.0.9, seen here).
    """
    add = f"""sed -i -E '/- seeds:/s/"(.*)"/"\\1,{address}"/' {CONF}"""
    script = f"grep -qwF -- '{address}' {CONF} || {{ {add} && nodetool reloadseeds; }}"
    docker("exec", peer.name, "sh", "-c", script)


def _empty(member: Member) -> None:
    """Delete all files of the node's volumes, from a container of its own image that has them."""
    image = docker("inspect", "--format", "{{.Image}}", member.name).strip()
    label = docker(
        "inspect",
        "--format",
        '{{index .Config.Labels "io.placer.deployment"}}',
        member.name,
    ).strip()
    # The commit log is a volume of its own, mounted inside the other: it is emptied and stays.
    script = f"find {DATA} -mindepth 1 ! -path {DATA}/commitlog -delete"
    arguments = ["--label", f"io.placer.deployment={label}", "--volumes-from", member.name]
    arguments += ["--network", "none", "--user", "0", "--entrypoint", "sh"]
    docker("run", "--rm", *arguments, image, "-c", script)


def _replace_itself(member: Member) -> None:
    """Have the node's next start replace the member that it was.

    Its options for a first start are on this machine, mounted into the container. Cassandra ignores them
    once the node has joined, so they may stay.
    """
    folder = docker(
        "inspect",
        "--format",
        '{{range .Mounts}}{{if eq .Destination "/etc/placer/cassandra"}}{{.Source}}{{end}}{{end}}',
        member.name,
    ).strip()
    path = Path(folder, "first-start.options")
    if not path.is_file():
        raise FaultError(f"{path} is missing.", "Deploy again: it renders the node's files.")
    kept = re.sub(r"^-Dcassandra\..*\n", "", path.read_text(), flags=re.MULTILINE)
    kept = re.sub(r"^#.*\n", "", kept, flags=re.MULTILINE)
    part = path.with_suffix(".part")
    part.write_text(
        "# joining: its disk was lost, so it replaces the member that it was.\n"
        f"-Dcassandra.replace_address_first_boot={member.wan_address or member.address}\n{kept}"
    )
    part.chmod(0o644)
    part.replace(path)
