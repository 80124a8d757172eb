"""Faults under load on a small cluster of its own, one node a cell: tests/chaos, then nothing left."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from suites.cluster import on_deployment
from suites.process import ROOT, Ended, run
from suites.result import Result

# Its own name, networks and ports, so that it may run beside a demo and Molecule's cluster.
CHAOS = {"deployment": "chaos", "run_dir": str(ROOT / ".demo-chaos"), "port_base": "8740"}
EXTRA = {
    "placer_deployment": CHAOS["deployment"],
    "placer_run_dir": CHAOS["run_dir"],
    "placer_net_base": "104",
    "placer_api_port_base": CHAOS["port_base"],
    "demo_size": "small",
}
DEPLOY_S = 1200
DOWN_S = 300
RUN_S = 1800


def chaos(arguments: Sequence[str]) -> Iterator[tuple[str, Result]]:
    """Deploy, run with ``arguments`` (``--seed``, ``--cycles``), and take it down."""
    _play("down", seconds=DOWN_S)  # what a killed run left
    try:
        deployed = _play("deploy", seconds=DEPLOY_S)
        yield "deploy", _result(deployed)
        if deployed.status == 0:
            command = ["python", "-m", "chaos", "--deployment", CHAOS["deployment"]]
            command += ["--run-dir", CHAOS["run_dir"], *arguments]
            paths = f"{ROOT / 'tests'}:{ROOT / 'scheduler_pkg/src'}"
            yield (
                "chaos",
                _result(run(command, seconds=RUN_S, live=True, env={"PYTHONPATH": paths})),
            )
    finally:
        down = _play("down", seconds=DOWN_S)
    gone = on_deployment(CHAOS, "tests/down", seconds=120)
    yield "teardown", _result(down) + gone


def _play(name: str, *, seconds: float) -> Ended:
    """A playbook on the local inventory, as this deployment."""
    command = ["ansible-playbook", "-i", "inventories/local", f"playbooks/{name}.yml"]
    return run([*command, "-e", json.dumps(EXTRA)], seconds=seconds, live=True)


def _result(ended: Ended) -> Result:
    return Result(int(ended.status == 0), int(ended.status != 0), ended.output[-4000:])
