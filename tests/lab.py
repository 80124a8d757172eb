"""Containers that a test adds to a running deployment, and takes away again.

A *lab* is an agent with hosts of its own: trees, aggregates, builds that fail. A trait that only they
have keeps a test's requests on them, whatever else runs. A *replacement* stands in for a scheduler,
with its name, addresses and settings, and one variable more: the place at which it is to die.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from deployment import Deployment, docker

READY_S = 60

#: What the fixture ``make_lab`` is: cell, hosts by their names' endings -> the trait that they have.
MakeLab = Callable[..., str]


def lab_trait() -> str:
    """A trait that no other host has."""
    return f"CUSTOM_LAB_{uuid.uuid4().hex[:8].upper()}"


def host(name: str, trait: str, **more: Any) -> dict[str, Any]:
    """A host as the sim driver reads it; without ``inventories`` it has eight cores."""
    offered = {"VCPU": {"total": 8}, "MEMORY_MB": {"total": 16384}}
    return {"name": name, "inventories": offered, "traits": [trait]} | more


@contextmanager
def lab(
    deployment: Deployment,
    cell: str,
    hosts: list[dict[str, Any]],
    folder: Path,
    *,
    failing: bool = False,
) -> Iterator[None]:
    """An agent of ``cell`` that plays ``hosts``; with ``failing`` every build fails."""
    like = deployment.containers[f"{deployment.name}-{cell}-agent-1"]
    name = f"{cell}-lab-{uuid.uuid4().hex[:6]}"
    settings = _changed(
        _mounted(like, "/etc/placer/placer.toml").read_text(),
        process=name,
        name=name,
        sim_failure_rate=1.0 if failing else 0.0,
    )
    folder.chmod(0o755)
    files = {"/etc/placer/placer.toml": folder / f"{name}.toml"}
    files["/etc/placer/hosts.json"] = folder / f"{name}.json"
    files["/etc/placer/placer.toml"].write_text(settings)
    files["/etc/placer/hosts.json"].write_text(json.dumps(hosts))
    for path in files.values():
        path.chmod(0o644)
    container = f"{deployment.name}-{name}"
    owner = like["Config"]["User"]
    journal = ["--tmpfs", f"/var/lib/placer/journal:uid={owner or 0},mode=0700"]
    try:
        _run(like, container, files, extra=journal, skip="/var/lib/placer/journal")
        yield
    finally:
        docker("rm", "--force", container, check=False)


@contextmanager
def failing_at(deployment: Deployment, scheduler: str, point: str) -> Iterator[str]:
    """``scheduler`` replaced by one that kills itself at ``point``; gives the container's name.

    Afterwards the scheduler itself is started again and ready.
    """
    original = f"{deployment.name}-{scheduler}"
    like = deployment.containers[original]
    container = f"{original}-failing"
    docker("stop", original)
    try:
        extra = ["--env", f"PLACER_FAIL_POINT={point}", *_addresses(like)]
        _run(like, container, {}, extra=extra, skip="")
        _wait_ready(like, container)
        yield container
    finally:
        docker("rm", "--force", container, check=False)
        docker("start", original)
        _wait_ready(like, original)


def has_died(container: str) -> bool:
    """Whether the container ended by a kill."""
    state = json.loads(docker("inspect", "--format", "{{json .State}}", container))
    return not state["Running"] and state["ExitCode"] == 137


def until(done: Callable[[], Any], *, seconds: float, what: str) -> Any:
    """The first true answer of ``done``; fails naming ``what`` when the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        if answer := done():
            return answer
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.1)


def _changed(toml: str, **values: Any) -> str:
    """``toml`` with the keys set: in their place if they are there, else at the end (the agent's)."""
    for key, value in values.items():
        line = f"{key} = {json.dumps(value)}"
        # The first key called "name" of the agent's section is its own, not a cell's.
        start = toml.index("[agent]") if key == "name" else 0
        found = re.compile(rf"^{key} = .*$", re.MULTILINE).search(toml, start)
        toml = toml[: found.start()] + line + toml[found.end() :] if found else f"{toml}{line}\n"
    return toml


def _run(
    like: dict[str, Any],
    container: str,
    files: dict[str, Path],
    *,
    extra: list[str],
    skip: str,
) -> None:
    """Start ``container`` as ``like`` is, with ``files`` in the place of its own."""
    config, host_config = like["Config"], like["HostConfig"]
    mounts = [f"{path}:{target}:ro" for target, path in files.items()]
    mounts += [
        f"{mount.get('Name') or mount['Source']}:{mount['Destination']}"
        + ("" if mount["RW"] else ":ro")
        for mount in like["Mounts"]
        if mount["Destination"] not in files and mount["Destination"] != skip
    ]
    networks = list(like["NetworkSettings"]["Networks"])
    arguments = ["--name", container, "--user", config["User"], "--read-only", "--tmpfs", "/tmp"]
    arguments += ["--init", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    arguments += ["--memory", str(host_config["Memory"])]
    for key, value in config["Labels"].items():
        arguments += ["--label", f"{key}={value}"]
    for mount in mounts:
        arguments += ["--volume", mount]
    if "--ip" not in extra:
        arguments += ["--network", networks[0]]
    docker("create", *arguments, *extra, config["Image"], *config["Cmd"])
    for name in networks[1:]:
        held = like["NetworkSettings"]["Networks"][name]
        fixed = (held.get("IPAMConfig") or {}).get("IPv4Address")
        address = ["--ip", fixed] if fixed and "--ip" in extra else []
        docker("network", "connect", *address, name, container)
    docker("start", container)


def _addresses(like: dict[str, Any]) -> list[str]:
    """The first network with the address that the others know it by."""
    name, held = next(iter(like["NetworkSettings"]["Networks"].items()))
    return ["--network", name, "--ip", held["IPAMConfig"]["IPv4Address"]]


def _mounted(like: dict[str, Any], target: str) -> Path:
    return next(Path(m["Source"]) for m in like["Mounts"] if m["Destination"] == target)


def _wait_ready(like: dict[str, Any], container: str) -> None:
    """Wait for the scheduler's own word that it serves."""
    port = re.search(
        r"^port = (\d+)$", _mounted(like, "/etc/placer/placer.toml").read_text(), re.MULTILINE
    )
    held = next(iter(like["NetworkSettings"]["Networks"].values()))
    address = held["IPAMConfig"]["IPv4Address"]
    assert port

    def ready() -> bool:
        try:
            answer = httpx.get(f"http://{address}:{port[1]}/readyz", timeout=2)
        except httpx.HTTPError:
            return has_died(container)
        return answer.status_code == httpx.codes.OK

    until(ready, seconds=READY_S, what=f"{container} serves")
