"""``placer check`` on a deployment of this machine: a container of the services' image, with all histories."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from faults import Cluster, FaultError
from faults.engine import docker

CHECK_S = 600.0
SETTLE_S = 60.0
SECRETS = "/run/placer/secrets"
SETTINGS = "/etc/placer/placer.toml"


def check(
    cluster: Cluster,
    *,
    clock_error_ms: float = 10.0,
    seconds: float = CHECK_S,
    histories: Path | None = None,
) -> dict[str, Any]:
    """The verdict, as ``placer check`` writes it; ``histories``: a folder of clients' histories as well.

    Its settings are those of a scheduler, with the role and the name of the checker.
    """
    scheduler = cluster.names("scheduler")[0]
    like = json.loads(docker("inspect", scheduler))[0]
    sources = {mount["Destination"]: mount["Source"] for mount in like["Mounts"]}
    work = cluster.run_dir / "chaos"
    out = work / "out"
    out.mkdir(parents=True, exist_ok=True)
    out.chmod(0o777)  # the container's user is another
    settings = work / "check.toml"
    settings.write_text(as_checker(Path(sources[SETTINGS]).read_text()))
    settings.chmod(0o644)
    (out / "check.json").unlink(missing_ok=True)

    secrets = Path(sources[f"{SECRETS}/db"]).parent
    mounts = [f"{settings}:{SETTINGS}:ro", f"{secrets / 'db_check'}:{SECRETS}/db:ro"]
    mounts += [f"{secrets / 'service_token'}:{SECRETS}/service_token:ro", f"{out}:/out"]
    mounts += [
        f"{cluster.name}-{cell}-history:/var/lib/placer/history/{cell}:ro"
        for cell in cluster.cells()
    ]
    command = ["check", "--settings", SETTINGS, "--out", "/out/check.json"]
    command += ["--clock-error-ms", f"{clock_error_ms:g}"]
    command += ["--settle-s", f"{SETTLE_S:g}", "--history", "/var/lib/placer/history"]
    if histories is not None:
        mounts.append(f"{histories}:/var/lib/placer/clients:ro")
        command += ["--history", "/var/lib/placer/clients"]
    first, *others = like["NetworkSettings"]["Networks"]
    name = f"{cluster.name}-chaos-check"
    arguments = ["--name", name, "--label", f"io.placer.deployment={cluster.name}", "--init"]
    arguments += ["--user", like["Config"]["User"], "--read-only", "--tmpfs", "/tmp"]
    arguments += ["--network", first]
    for mount in mounts:
        arguments += ["--volume", mount]
    docker("rm", "--force", name, check=False)
    docker("create", *arguments, like["Image"], *command)
    try:
        for network in others:
            docker("network", "connect", network, name)
        said = docker("start", "--attach", name, check=False, seconds=seconds)
        logs = docker("logs", name, check=False)
    finally:
        docker("rm", "--force", name, check=False)
    if not (out / "check.json").is_file():
        raise FaultError(
            f"placer check wrote no verdict: {(said or logs).strip()[-500:] or 'without a word'}.",
            "See whether every cell answers.",
        )
    verdict: dict[str, Any] = json.loads((out / "check.json").read_text())
    return verdict


def as_checker(toml: str) -> str:
    """A scheduler's settings, with the checker's name and role and without what only a scheduler has."""
    text = re.sub(r"^process = .*$", 'process = "chaos-check"', toml, count=1, flags=re.MULTILINE)
    text = re.sub(
        r"^username = .*$", 'username = "placer_check"', text, count=1, flags=re.MULTILINE
    )
    return re.sub(r"^\[(?:scheduler|tls)[^\n]*\]\n(?:(?!\[).*\n?)*", "", text, flags=re.MULTILINE)
