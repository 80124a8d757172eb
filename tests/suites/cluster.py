"""Checks on running clusters: the Molecule scenarios with the integration tests, and the demo itself."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from suites.fast import CONTAINERS, pytest
from suites.process import ROOT, Ended, run
from suites.result import Result

# The deployment of the test cluster: its own name, networks and ports, so that a demo may run beside it.
MOLECULE = {"deployment": "molecule", "run_dir": str(ROOT / ".demo-molecule"), "port_base": "8720"}
DEMO = {"deployment": "demo", "run_dir": str(ROOT / ".demo"), "port_base": "8700"}

# What CI runs of Molecule; what one node a cell is enough for. The others want three a cell, and time: ./test molecule --all.
QUICK = ("default", "claims")
SMALL = (*QUICK, "partition")

# Bounds on each Molecule action: several times what they take on 2 CPUs, images built from nothing included.
ACTIONS = {
    "create": 300,
    "prepare": 300,
    "converge": 1200,
    "check": 300,
    "idempotence": 300,
    "verify": 1500,
    "side_effect": 300,
    "cleanup": 300,
    "destroy": 300,
}


def scenarios() -> list[str]:
    """Names of all Molecule scenarios, in the order of `molecule test --all`."""
    return sorted(path.parent.name for path in (ROOT / "molecule").glob("*/molecule.yml"))


def molecule(arguments: Sequence[str]) -> Iterator[tuple[str, Result]]:
    """Scenarios on one cluster, then the integration tests on it, then nothing left.

    Names of scenarios, or ``--all``; the quick ones without. ``--keep`` leaves the cluster up, for a look at it or a quicker
    second run. A scenario with ``shared_state: false`` brings up and removes what it needs by itself.
    """
    keep, named = "--keep" in arguments, [name for name in arguments if not name.startswith("--")]
    if unknown := sorted(set(named) - set(scenarios())):
        raise ValueError(
            f"no such scenario: {', '.join(unknown)}; there are {', '.join(scenarios())}"
        )
    chosen = scenarios() if "--all" in arguments else named or list(QUICK)
    shared = [name for name in chosen if _setting(name, "shared_state", True)]
    # Molecule's configuration asks for it; three nodes a cell unless all that is wanted does with one.
    os.environ["PLACER_MOLECULE_SIZE"] = "small" if set(shared) <= set(SMALL) else "full"
    if shared and not keep:
        ended = _act(shared[0], "destroy")  # what a killed run left, of whatever checkout
        if ended.status:
            yield shared[0], Result(0, 1, ended.output[-4000:])
            return
    up = False
    try:
        for scenario in shared:
            # The first one deploys; the others find what it deployed.
            skip = ("create", "converge", "destroy") if up else ("destroy",)
            result = _run(scenario, skip=skip)
            yield scenario, result
            if result.failed:
                return  # its cluster may be in any state
            up = True
        if up:
            options = () if "--all" in arguments else ("-m", "not long")
            yield (
                "integration",
                on_deployment(MOLECULE, "tests/integration", seconds=2400, options=options),
            )
    finally:
        if shared and not keep:
            _act(shared[0], "destroy", live=True)
    if shared and not keep:
        yield "teardown", on_deployment(MOLECULE, "tests/down", seconds=120)
    for scenario in chosen:
        if scenario not in shared:
            yield scenario, _run(scenario)


def sequence(scenario: str) -> list[str]:
    """The actions of a scenario's test, in their order."""
    actions: list[str] = _setting(scenario, "scenario", {})["test_sequence"]
    return actions


def _run(scenario: str, skip: Sequence[str] = ()) -> Result:
    """The scenario's own test sequence but for ``skip``, up to the first action that fails."""
    actions = sequence(scenario)
    result = Result(0, 0)
    for action in actions:
        if action in skip:
            continue
        ended = _act(scenario, action, live=True)
        good = ended.status == 0
        result += Result(int(good), int(not good), "" if good else ended.output[-4000:])
        if not good:
            for undo in ("cleanup", "destroy"):
                if undo in actions and undo not in skip:
                    _act(scenario, undo, live=True)
            break
    return result


def _act(scenario: str, action: str, *, live: bool = False) -> Ended:
    command = action.replace("_", "-")  # side_effect is called side-effect on the command line
    return run(["molecule", command, "-s", scenario], seconds=ACTIONS[action], live=live)


def _setting(scenario: str, key: str, default: Any) -> Any:
    """A top-level setting of a scenario: its own, or that of all."""
    import yaml  # here, as ./test --help runs before anything is installed

    own, common = (
        yaml.safe_load((ROOT / path).read_text()) or {}
        for path in (f"molecule/{scenario}/molecule.yml", ".config/molecule/config.yml")
    )
    value = own.get(key, common.get(key, default))
    return {**common.get(key, {}), **value} if isinstance(value, dict) else value


def demo(_: Sequence[str]) -> Iterator[tuple[str, Result]]:
    """./demo as a newcomer runs it, its figures against the bars, a second deployment that changes nothing, and down."""
    environment = {"NO_COLOR": "1"}
    # From nothing, as a newcomer does.
    ended = run(["./demo", "down"], seconds=300, env=environment)
    if ended.status:
        yield "demo", Result(0, 1, ended.output[-4000:])
        return
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


def on_deployment(
    deployment: dict[str, str], path: str, *, seconds: float, options: Sequence[str] = ()
) -> Result:
    """pytest with the deployment's name and run directory in its environment (tests/conftest.py reads them)."""
    if not (ROOT / path).is_dir():
        return Result(0, 1, f"{path} is missing\n")
    os.environ |= {f"PLACER_TEST_{key.upper()}": value for key, value in deployment.items()}
    return pytest(str(Path(path)), options=options, seconds=seconds)
