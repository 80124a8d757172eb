"""Restarts and upgrades of nodes as an operator does them, seen by clients and by the engine."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from deployment import Deployment, docker, racks
from faults import Cluster
from lab import until
from load import STEADY_PAUSE_S, Load, every_pair, summary
from operate import edited_inventory, must, playbook, three_nodes_a_cell

testinfra_hosts = ["ansible://machines"]

#: What one gate waits where the cluster is not going to be whole: more than the heartbeats of one that is take to come round.
GATE_S = 15
#: Until the engine has told of what has just happened, and until somebody who listens to it has ended.
EVENT_S, ENDED_S = 1, 30


@pytest.fixture(autouse=True)
def _three_nodes_a_cell(deployment: Deployment) -> None:
    three_nodes_a_cell(deployment)


@pytest.fixture
def newer_image(deployment: Deployment) -> Iterator[str]:
    """An image of the nodes that differs from theirs, as a new version does."""
    node = deployment.nodes[0]
    image = deployment.containers[node]["Config"]["Image"]
    newer = f"{image.partition(':')[0]}:{deployment.name}-newer"
    label = f"io.placer.test.built={time.time_ns()}"
    made = docker("create", image).strip()
    try:
        docker("commit", "--change", f"LABEL {label}", made, newer)
    finally:
        docker("rm", "--volumes", made)
    try:
        yield newer
    finally:
        docker("image", "rm", "--force", newer, check=False)


def starts(deployment: Deployment) -> dict[str, str]:
    """When each node's container was started last; a new one has a new time."""
    now = deployment.look_again()
    return {node: now.containers[node]["State"]["StartedAt"] for node in now.nodes}


def images(deployment: Deployment) -> dict[str, str]:
    """What each node's container was made from."""
    now = deployment.look_again()
    return {node: now.containers[node]["Config"]["Image"] for node in now.nodes}


@contextmanager
def outages(deployment: Deployment) -> Iterator[list[tuple[float, str, str]]]:
    """What the engine reports of nodes that end and start meanwhile: (time, `die` or `start`, container), in order.

    Followed while it happens: of what is over, an engine keeps its last 256 events, and every command that anybody runs in a
    container is some of them.
    """
    seen: list[tuple[float, str, str]] = []
    following = subprocess.Popen(
        [
            *("docker", "events", "--since", f"{time.time():.3f}"),
            *("--filter", f"label={deployment.label}"),
            *("--filter", "label=io.placer.role=cassandra"),
            *("--filter", "event=die", "--filter", "event=start", "--format", "{{json .}}"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield seen
        # The last event is a moment on its way.
        time.sleep(EVENT_S)
    finally:
        following.terminate()
        said, _ = following.communicate(timeout=ENDED_S)
    for line in said.splitlines():
        event = json.loads(line)
        seen.append(
            (event["timeNano"] / 1e9, event["Action"], event["Actor"]["Attributes"]["name"])
        )
    seen.sort()


def racks_down_at_once(deployment: Deployment, seen: Sequence[tuple[float, str, str]]) -> int:
    """The largest number of racks that had a node down at the same time."""
    rack = racks(deployment)
    down: set[str] = set()
    most = 0
    for _, what, node in seen:
        down = down | {node} if what == "die" else down - {node}
        most = max(most, len({rack[one] for one in down}))
    return most


def test_upgrade_and_way_back_fail_no_claim(
    deployment: Deployment, api_token: str, cluster: Cluster, newer_image: str, tmp_path: Path
) -> None:
    """A cell gets a new image by the deploy playbook, and its old one back by a restart: three racks each, never two at
    once, and every claim of every client in every cell is placed."""
    cell = deployment.cells[0]
    nodes = deployment.nodes_of(cell)
    before = starts(deployment)
    inventory = edited_inventory(tmp_path, {cell: {"cassandra_image": newer_image}})
    load = Load(deployment, api_token, every_pair(deployment.cells), pause_s=STEADY_PAUSE_S)
    with outages(deployment) as seen, load.running():
        must(playbook(deployment, "deploy", inventory=inventory))
        upgraded = images(deployment)
        must(playbook(deployment, "restart", restart_nodes=f"{cell}_nodes"))
    print(summary(load.tries))
    assert {upgraded[node] for node in nodes} == {newer_image}
    assert newer_image not in images(deployment).values()
    now = starts(deployment)
    assert {node for node in now if now[node] != before[node]} == set(nodes)
    assert [name for _, what, name in seen if what == "start"] == nodes * 2
    assert racks_down_at_once(deployment, seen) == 1
    assert all(one.placed for one in load.tries), summary(load.tries)
    assert sum(one.repeats for one in load.tries) == 0


def test_restart_ends_at_the_rack_where_the_cluster_is_not_whole(
    deployment: Deployment, cluster: Cluster
) -> None:
    """While the first rack restarts, a node of another cell stops answering: the gate behind the first rack says which,
    and no second rack is touched."""
    cell, other = deployment.cells[0], deployment.cells[-1]
    first, *rest = deployment.nodes_of(cell)
    lost = deployment.nodes_of(other)[-1]
    before = starts(deployment)
    ended = []

    def restart() -> None:
        ended.append(
            playbook(
                deployment,
                "restart",
                restart_nodes=f"{cell}_nodes",
                placer_gate_timeout_s=GATE_S,
            )
        )

    running = threading.Thread(target=restart)
    running.start()
    try:
        until(
            lambda: ended or starts(deployment)[first] != before[first],
            seconds=180,
            what=f"{first} is restarted",
        )
        assert not ended, ended[0].output[-4000:]
        docker("pause", lost)
        running.join(timeout=300)
    finally:
        running.join(timeout=300)
        docker("unpause", lost, check=False)
    (result,) = ended
    assert result.status != 0
    assert lost.removeprefix(f"{deployment.name}-") in result.output
    now = starts(deployment)
    assert {node: now[node] for node in rest} == {node: before[node] for node in rest}
