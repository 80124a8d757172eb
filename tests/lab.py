"""Containers that a test adds to a running deployment, and takes away again.

A *lab* is an agent with hosts of its own: trees, aggregates, builds that fail. A trait that only they
have keeps a test's requests on them, whatever else runs. A *replacement* stands in for a scheduler or an API
server, with its name, addresses and settings, and one variable more: the place at which it is to die.
"""

from __future__ import annotations

import ipaddress
import json
import random
import re
import signal
import time
import tomllib
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from certificates import Authority
from deployment import Deployment, docker

READY_S = 60
_KILLED = 128 + signal.SIGKILL
_JOURNAL = "/var/lib/placer/journal"

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
    small_disk: bool = False,
    stranger: bool = False,
) -> Iterator[str]:
    """An agent of ``cell`` that plays ``hosts``, its container's name; with ``failing`` every build fails.

    With ``small_disk`` its journal is on a disk of its own that ``fill_disk`` can fill. The certificate of a
    ``stranger`` is another authority's; its address was hardly anybody's before, as one is told once an hour.
    """
    like = deployment.containers[f"{deployment.name}-{cell}-agent-1"]
    name = f"{cell}-lab-{uuid.uuid4().hex[:6]}"
    settings = _changed(
        _mounted(like, "/etc/placer/placer.toml").read_text(),
        process=name,
        name=name,
        sim_failure_rate=1.0 if failing else 0.0,
    )
    folder.chmod(0o755)
    names = [host["name"] for host in hosts]
    authority = Authority(folder, None if stranger else deployment.run_dir / "pki")
    tls = authority.agent(name, *names, cell=cell)
    files = {"/run/placer/tls/tls.crt": tls.certificate, "/run/placer/tls/tls.key": tls.key}
    files["/etc/placer/placer.toml"] = folder / f"{name}.toml"
    files["/etc/placer/hosts.json"] = folder / f"{name}.json"
    files["/etc/placer/placer.toml"].write_text(settings)
    files["/etc/placer/hosts.json"].write_text(json.dumps(hosts))
    for path in files.values():
        path.chmod(0o644)
    container = f"{deployment.name}-{name}"
    journal = folder / f"{name}-journal"
    journal.mkdir()
    journal.chmod(0o777)  # the agent's user is not this one
    try:
        disk = ["--volume", f"{journal}:{_JOURNAL}"]
        if small_disk:
            disk = ["--mount", f"type=tmpfs,dst={_JOURNAL},tmpfs-size=4m,tmpfs-mode=1777"]
        addresses = _unused_address(like) if stranger else {}
        _run(like, container, files, extra=disk, skip=_JOURNAL, addresses=addresses)
        yield container
    finally:
        docker("rm", "--force", container, check=False)


#: Starts a replacement that kills itself at the named point; gives its container's name.
Arm = Callable[[str], str]


@contextmanager
def replaced(deployment: Deployment, process: str) -> Iterator[Arm]:
    """Without ``process``, a scheduler or API server; what is given starts replacements, one at a time.

    A replacement that died stays dead until the next is started. Afterwards the process itself is
    back, and serves.
    """
    original = f"{deployment.name}-{process}"
    like = deployment.containers[original]
    container = f"{original}-failing"

    def arm(point: str) -> str:
        _run_again(like, container, point)
        _wait_ready(like, container)
        return container

    with stopped(deployment, [process]):
        try:
            yield arm
        finally:
            docker("rm", "--force", container, check=False)


@contextmanager
def stopped(deployment: Deployment, processes: list[str]) -> Iterator[None]:
    """Without these schedulers or API servers; afterwards they serve again."""
    names = [f"{deployment.name}-{process}" for process in processes]
    if names:
        docker("stop", *names)
    try:
        yield
    finally:
        if names:
            docker("start", *names)
        for name in names:
            _wait_ready(deployment.containers[name], name)


def labs(deployment: Deployment, cell: str) -> set[str]:
    """Containers of labs' agents in ``cell``."""
    name = f"name={deployment.name}-{cell}-lab-"
    return set(docker("ps", "--all", "--filter", name, "--format", "{{.Names}}").split())


def fill_disk(container: str) -> None:
    """Have nothing fit on the small disk of a lab's agent any more."""
    # dd ends when nothing fits any more, which is what it is for.
    script = f"dd if=/dev/zero of={_JOURNAL}/filler bs=4096 2>/dev/null; df {_JOURNAL}"
    assert "100%" in docker("exec", container, "sh", "-c", script)


def free_disk(container: str) -> None:
    """Undo ``fill_disk``."""
    docker("exec", container, "rm", f"{_JOURNAL}/filler")


def arm_lab(container: str, point: str) -> None:
    """A lab's agent once more, with its journal and its instances; it kills itself at ``point``.

    Without a point it stays.
    """
    _run_again(_inspected(container), container, point)


def bring_labs_to(deployment: Deployment, cell: str, scheduler: str) -> None:
    """Kill the labs' agents of ``cell``, and start them again with ``scheduler`` as the one they know.

    Returns when it serves all of their hosts. Of the other schedulers they hear from it.
    """
    like = deployment.containers[f"{deployment.name}-{scheduler}"]
    urls = [_settings(like)["scheduler"]["agents_advertise"]]
    for container in labs(deployment, cell):
        like = _inspected(container)
        file = _mounted(like, "/etc/placer/placer.toml")
        file.write_text(_changed(file.read_text(), schedulers=urls))
        docker("restart", "--time", "0", container)
        until(
            partial(_serves, like, scheduler),
            seconds=READY_S,
            what=f"{scheduler} serves the hosts of {container}",
        )


def _serves(lab_agent: dict[str, Any], scheduler: str) -> bool:
    """Whether the agent says that ``scheduler`` knows all of its hosts."""
    file = _mounted(lab_agent, _JOURNAL) / "status.json"
    try:
        said = json.loads(file.read_text())
    except FileNotFoundError:
        return False
    return bool(said["scheduler"] == scheduler and said["reported"] == said["hosts"])


def url_of(deployment: Deployment, process: str) -> str:
    """Where a scheduler or an API server, or its replacement, listens inside its region."""
    return _url(deployment.containers[f"{deployment.name}-{process}"])


def died_at(container: str) -> float:
    """When a container ended, in seconds since 1970."""
    said = docker("inspect", "--format", "{{.State.FinishedAt}}", container).strip()
    return datetime.fromisoformat(said).timestamp()


def has_died(container: str) -> bool:
    """Whether the container ended by a kill."""
    return exit_code(container) == _KILLED


def exit_code(container: str) -> int | None:
    """How the container ended; None: it runs."""
    state = json.loads(docker("inspect", "--format", "{{json .State}}", container))
    return None if state["Running"] else int(state["ExitCode"])


def until(done: Callable[[], Any], *, seconds: float, what: str) -> Any:
    """The first true answer of ``done``; fails naming ``what`` when the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        if answer := done():
            return answer
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.1)


def _changed(toml: str, **values: Any) -> str:
    """``toml`` with the keys set: in their place if they are there, else in the agent's section."""
    for key, value in values.items():
        line = f"{key} = {json.dumps(value)}"
        # Those of the agent's section: cells have such keys too.
        start = toml.index("[agent]") if key in ("name", "schedulers") else 0
        found = re.compile(rf"^{key} = .*$", re.MULTILINE).search(toml, start)
        if found:
            toml = toml[: found.start()] + line + toml[found.end() :]
        else:
            toml = toml.replace("[agent]", f"[agent]\n{line}", 1)
    return toml


def _run(
    like: dict[str, Any],
    container: str,
    files: dict[str, Path],
    *,
    extra: list[str],
    skip: str,
    addresses: dict[str, str],
) -> None:
    """Start ``container`` as ``like`` is, with ``files`` in the place of its own.

    ``addresses``: by network, where it is not to be the engine's choice.
    """
    config, host_config = like["Config"], like["HostConfig"]
    mounts = [f"{path}:{target}:ro" for target, path in files.items()]
    mounts += [
        f"{mount.get('Name') or mount['Source']}:{mount['Destination']}"
        + ("" if mount["RW"] else ":ro")
        for mount in like["Mounts"]
        if mount["Destination"] not in files and mount["Destination"] != skip
    ]
    arguments = ["--name", container, "--user", config["User"], "--read-only", "--tmpfs", "/tmp"]
    arguments += ["--init", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    arguments += ["--memory", str(host_config["Memory"])]
    for key, value in config["Labels"].items():
        arguments += ["--label", f"{key}={value}"]
    for mount in mounts:
        arguments += ["--volume", mount]
    first, *others = like["NetworkSettings"]["Networks"]
    arguments += ["--network", first, *_at(addresses, first)]
    docker("create", *arguments, *extra, like["Image"], *config["Cmd"])
    for name in others:
        docker("network", "connect", *_at(addresses, name), name, container)
    docker("start", container)


def _run_again(like: dict[str, Any], container: str, point: str) -> None:
    """``container`` made anew as ``like``, with a place to die at."""
    docker("rm", "--force", container, check=False)
    fatal = ["--env", f"PLACER_FAIL_POINT={point}"] if point else []
    _run(like, container, {}, extra=fatal, skip="", addresses=_addresses(like))


def _addresses(like: dict[str, Any]) -> dict[str, str]:
    """Those that the others know it by, by network; nothing of one that the engine chose."""
    networks: dict[str, dict[str, Any]] = like["NetworkSettings"]["Networks"]
    found = {n: (held.get("IPAMConfig") or {}).get("IPv4Address") for n, held in networks.items()}
    return {name: address for name, address in found.items() if address}


def _unused_address(like: dict[str, Any]) -> dict[str, str]:
    """One of the first network that neither the deployment nor the engine gives to anybody."""
    name, held = next(iter(like["NetworkSettings"]["Networks"].items()))
    network = ipaddress.ip_network(f"{held['IPAddress']}/{held['IPPrefixLen']}", strict=False)
    return {name: str(network[random.randrange(128, 240)])}


def _at(addresses: dict[str, str], network: str) -> list[str]:
    return ["--ip", addresses[network]] if network in addresses else []


def _inspected(container: str) -> dict[str, Any]:
    (found,) = json.loads(docker("inspect", container))
    return dict(found)


def _mounted(like: dict[str, Any], target: str) -> Path:
    return next(Path(m["Source"]) for m in like["Mounts"] if m["Destination"] == target)


def _settings(like: dict[str, Any]) -> dict[str, Any]:
    return tomllib.loads(_mounted(like, "/etc/placer/placer.toml").read_text())


def _url(like: dict[str, Any]) -> str:
    settings = _settings(like)
    part = settings.get("api") or settings["scheduler"]
    (held, *_) = like["NetworkSettings"]["Networks"].values()
    return f"http://{held['IPAMConfig']['IPv4Address']}:{part['port']}"


def _wait_ready(like: dict[str, Any], container: str) -> None:
    """Wait for the process's own word that it serves; or until it is dead, if it is to die early."""
    url = _url(like)

    def ready() -> bool:
        try:
            answer = httpx.get(f"{url}/readyz", timeout=2)
        except httpx.HTTPError:
            ended = exit_code(container)
            if ended is not None and ended != _KILLED:
                docker("start", container)  # its store was slow: a start that failed is repeated
            return ended == _KILLED
        return answer.status_code == httpx.codes.OK

    until(ready, seconds=READY_S, what=f"{container} serves")
