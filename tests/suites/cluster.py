"""Checks on running clusters: the Molecule scenarios with the integration tests, and the demo itself."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from suites.fast import CONTAINERS, pytest
from suites.process import ROOT, run
from suites.result import Result

# The deployment of the test cluster: its own name, networks and ports, so that a demo may run beside it.
MOLECULE = {"deployment": "molecule", "run_dir": str(ROOT / ".demo-molecule"), "port_base": "8720"}
DEMO = {"deployment": "demo", "run_dir": str(ROOT / ".demo"), "port_base": "8700"}

# Bounds on each Molecule action: several times what they take on 2 CPUs, images built from nothing included.
ACTIONS = {"create": 300, "converge": 900, "idempotence": 300, "verify": 300}


def scenarios() -> list[str]:
    """Names of all Molecule scenarios."""
    return sorted(path.parent.name for path in (ROOT / "molecule").glob("*/molecule.yml"))


def molecule(arguments: Sequence[str]) -> Iterator[tuple[str, Result]]:
    """Each scenario's actions, then the integration tests on what it brought up, then nothing left.

    ``--keep`` among the arguments leaves the cluster up, for a look at it or a quicker second run.
    """
    keep = "--keep" in arguments
    for scenario in [name for name in arguments if name != "--keep"] or scenarios():
        up = False
        if not keep:
            run(["molecule", "destroy", "-s", scenario], seconds=180)  # what a killed run left
        try:
            result = Result(0, 0)
            for action, seconds in ACTIONS.items():
                ended = run(["molecule", action, "-s", scenario], seconds=seconds, live=True)
                good = ended.status == 0
                result += Result(int(good), int(not good), "" if good else ended.output[-4000:])
                if not good:
                    break
                up = up or action == "converge"
            yield "molecule", result
            if up:
                yield "integration", on_deployment(MOLECULE, "tests/integration", seconds=2400)
        finally:
            if not keep:
                run(["molecule", "destroy", "-s", scenario], seconds=180, live=True)
        if not keep:
            yield "teardown", on_deployment(MOLECULE, "tests/down", seconds=120)


def demo(_: Sequence[str]) -> Iterator[tuple[str, Result]]:
    """./demo as a newcomer runs it, its figures against the bars, a second deployment that changes nothing, and down."""
    environment = {"NO_COLOR": "1"}
    run(["./demo", "down"], seconds=300, env=environment)  # from nothing, as a newcomer does
    try:
        ended = run(["./demo"], seconds=1200, live=True, env=environment)
        started = Result(int(ended.status == 0), int(ended.status != 0), ended.output[-4000:])
        yield "demo", started
        if not started.failed:
            yield "report", on_deployment(DEMO, "tests/demo", seconds=600)
    finally:
        ended = run(["./demo", "down"], seconds=300, live=True, env=environment)
    gone = Result(int(ended.status == 0), int(ended.status != 0), ended.output[-4000:])
    yield "teardown", gone + on_deployment(DEMO, "tests/down", seconds=120)


def containers(_: Sequence[str]) -> Iterator[tuple[str, Result]]:
    """The agent and its driver on the machine's own engine, which is started where none runs."""
    yield "containers", pytest(CONTAINERS, seconds=900, live=True)


def on_deployment(deployment: dict[str, str], path: str, *, seconds: float) -> Result:
    """pytest with the deployment's name and run directory in its environment (tests/conftest.py reads them)."""
    if not (ROOT / path).is_dir():
        return Result(0, 1, f"{path} is missing\n")
    os.environ |= {f"PLACER_TEST_{key.upper()}": value for key, value in deployment.items()}
    return pytest(str(Path(path)), seconds=seconds)
