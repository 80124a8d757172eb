"""A full disk: a copy of the container whose volume has a bound, and is filled while it runs.

The machine's own disk cannot be filled, as everybody is on it. So what the volume holds is copied to a
small one in memory, held by a container of its own (`<original>-disk`), which also fills it: the next
write of the process fails with ENOSPC, as on a full disk. Healing makes room, copies everything back and
starts the original.
"""

from __future__ import annotations

import json
import socket
import time
from typing import Any

from faults import replacement
from faults.engine import docker
from faults.errors import FaultError, unknown
from faults.replacement import Difference
from faults.target import FAULT, OF, Member, Role

#: What can be full: whose, and where it is mounted there.
DISKS = {
    "data": (Role.NODE, "/var/lib/cassandra"),
    "commitlog": (Role.NODE, "/var/lib/cassandra/commitlog"),
    "journal": (Role.AGENT, "/var/lib/placer/journal"),
}
#: What is free before the filling; a start has to fit.
SLACK_KIB = {"data": 65_536, "commitlog": 65_536, "journal": 1024}
COPY_S = 300.0
CQL_PORT = 9042
#: How long a node's start is waited for.
SERVING_S = 180.0


def fill(member: Member, what: str) -> str:
    """Have ``member`` go on with a disk on which nothing fits any more; the copy's name."""
    if what not in DISKS:
        raise unknown("disk", what, DISKS)
    role, path = DISKS[what]
    if member.role is not role:
        raise FaultError(
            f"{member.name} has no {what}.", f"A {what} is what a container of kind {role} has."
        )
    like: dict[str, Any] = json.loads(docker("inspect", member.name))[0]
    volume = next((one.get("Name") for one in like["Mounts"] if one["Destination"] == path), None)
    if not volume:
        raise FaultError(f"{member.name} has no volume at {path}.", "Deploy it as the roles do.")
    unfill(member.name)
    docker("stop", "--time", str(replacement.STOP_S), member.name)
    try:
        small = _hold(member.name, like, volume, what)
        copy = replacement.stand_in(member, Difference("full", {}, {path: small}))
        _await_serving(member)
        # dd ends when nothing fits any more, which is what it is for.
        script = "dd if=/dev/zero of=/small/.filler bs=4096 2>/dev/null; sync; df -k /small"
        docker("exec", _holder(member.name), "sh", "-c", script)
    except FaultError:
        unfill(member.name)
        docker("start", member.name)
        raise
    return copy


def unfill(original: str) -> None:
    """Stop the copy, bring back what it wrote, and take everything of it away; safe to repeat."""
    holder = _holder(original)
    replacement.remove(original)
    if docker("ps", "--quiet", "--filter", f"name=^{holder}$"):
        script = "rm -f /small/.filler && find /large -mindepth 1 -delete && cp -a /small/. /large/"
        docker("exec", holder, "sh", "-c", script, seconds=COPY_S)
    docker("rm", "--force", holder, check=False)
    docker("volume", "rm", "--force", holder, check=False)


def _await_serving(member: Member) -> None:
    """Let a node come up first: what is to be seen is a disk that fills up, not a start on a full one."""
    deadline = time.monotonic() + (SERVING_S if member.role is Role.NODE else 0.0)
    while time.monotonic() < deadline:
        try:
            socket.create_connection((member.address, CQL_PORT), timeout=1).close()
            return
        except OSError:
            time.sleep(0.5)


def _holder(original: str) -> str:
    """Container and volume of the small disk."""
    return f"{original}{replacement.HOLDER}"


def _hold(original: str, like: dict[str, Any], volume: str, what: str) -> str:
    """Make the small volume with what the large one holds, and keep it mounted; its name."""
    name = _holder(original)
    deployment = like["Config"]["Labels"]["io.placer.deployment"]
    label = ["--label", f"io.placer.deployment={deployment}"]
    image = like["Image"]
    plain = ["--rm", *label, "--network", "none", "--user", "0", "--entrypoint", "sh"]
    used = docker("run", *plain, "--volume", f"{volume}:/large", image, "-c", "du -sk /large")
    size = int(used.split()[0]) + SLACK_KIB[what]
    options = ["--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", f"o=size={size}k,mode=1777"]
    docker("volume", "create", *label, *options, name)
    run = [
        "run",
        "--detach",
        "--name",
        name,
        *label,
        "--label",
        f"{FAULT}=disk",
        "--label",
        f"{OF}={original}",
    ]
    run += ["--network", "none", "--user", "0", "--init", "--entrypoint", "sleep"]
    run += ["--volume", f"{volume}:/large", "--volume", f"{name}:/small"]
    docker(*run, image, "infinity")
    docker("exec", name, "sh", "-c", "cp -a /large/. /small/", seconds=COPY_S)
    return name
