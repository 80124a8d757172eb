"""The playbooks that a user runs, on the deployment that the tests look at."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deployment import ROOT, Deployment, address
from suites.process import Ended, run

INVENTORY = ROOT / "inventories" / "local"


def playbook(
    deployment: Deployment,
    name: str,
    *,
    inventory: Path = INVENTORY,
    seconds: float = 600,
    limit: str = "",
    **variables: Any,
) -> Ended:
    """Run playbooks/``name``.yml to its end, at most ``seconds``; whether it went well is for the caller to judge."""
    command = ["ansible-playbook", "-i", str(inventory), str(ROOT / "playbooks" / f"{name}.yml")]
    command += ["--extra-vars", json.dumps(settings(deployment) | variables)]
    if limit:
        command += ["--limit", limit]
    return run(command, seconds=seconds)


def settings(deployment: Deployment) -> dict[str, Any]:
    """What tells this deployment from others of the same inventory, read from what runs."""
    now = deployment.look_again()
    small = all(len(now.nodes_of(cell)) == 1 for cell in now.cells)
    return {
        "placer_deployment": now.name,
        "placer_run_dir": str(now.run_dir),
        "placer_net_base": int(address(now, now.nodes[0]).split(".")[1]),
        "placer_api_port_base": now.port_base,
        "demo_size": "small" if small else "full",
    }


def must(ended: Ended) -> str:
    """The output of a run that went well; fails with the end of one that did not."""
    assert ended.status == 0, f"status {ended.status}: {ended.output[-4000:]}"
    return ended.output


def changes(said: str) -> dict[str, int]:
    """Inventory host -> changes that a playbook made there, from the recap in what it ``said``."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", said)  # colours
    found = re.findall(r"^(\S+) +: ok=.* changed=(\d+) ", plain, re.MULTILINE)
    assert found, f"no recap in {said[-2000:]}"
    return {host: int(count) for host, count in found}


def edited_inventory(
    folder: Path, variables: dict[str, dict[str, Any]], *, inventory: Path = INVENTORY
) -> Path:
    """A copy of ``inventory`` in ``folder``, with further ``variables`` of groups {group: {name: value}}."""
    copy = folder / "inventory"
    if not copy.exists():
        shutil.copytree(inventory, copy)
    for group, values in variables.items():
        path = copy / "group_vars" / group / "edited.yml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    return copy


def three_nodes_a_cell(deployment: Deployment, cells: Sequence[str] = ()) -> None:
    """Fail where one of ``cells`` (all) has fewer: what a lost node or rack leaves cannot be tried on it."""
    few = [cell for cell in cells or deployment.cells if len(deployment.nodes_of(cell)) < 3]
    assert not few, (
        f"cells {', '.join(few)} have fewer than three nodes: use PLACER_MOLECULE_SIZE=full"
    )
