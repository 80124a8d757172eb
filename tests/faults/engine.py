"""The Docker Engine by its command line: every call bounded, every refusal with its reason."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from faults.errors import FaultError

CALL_S = 120.0


def docker(*arguments: str, check: bool = True, seconds: float = CALL_S) -> str:
    """What a docker command prints. With ``check`` a failure raises FaultError with its words."""
    try:
        done = subprocess.run(
            ["docker", *arguments], capture_output=True, text=True, timeout=seconds, check=False
        )
    except FileNotFoundError:
        raise FaultError("There is no docker command.", "Deploy first: ./demo") from None
    except subprocess.TimeoutExpired:
        raise FaultError(
            f"docker {' '.join(arguments[:3])} took more than {seconds:g} s.",
            "See whether the engine answers: docker version",
        ) from None
    if check and done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise FaultError(
            f"docker {' '.join(arguments[:3])} failed: {said[-1] if said else 'without a word'}.",
            "See docker ps --all.",
        )
    return done.stdout


def inspect_all(deployment: str) -> list[dict[str, Any]]:
    """What the engine says of every container of a deployment, stopped ones too."""
    label = f"label=io.placer.deployment={deployment}"
    names = docker("ps", "--all", "--quiet", "--filter", label).split()
    if not names:
        return []
    # One that ends between the two calls is missing in the second, which then complains of it.
    return list(json.loads(docker("inspect", *names, check=False) or "[]"))
