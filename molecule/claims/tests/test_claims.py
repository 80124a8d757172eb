"""All regions want the same at the same moment: exactly what there is is given, and the store keeps the rest out."""

from __future__ import annotations

import concurrent.futures
import itertools
import json
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from cassandra import ConsistencyLevel, Unavailable
from cassandra.query import SimpleStatement

from client import Api
from deployment import Deployment, session_on
from lab import MakeLab, lab_trait
from operate import must, playbook

testinfra_hosts = ["ansible://machines"]

PLACED = ("placed", "built")
HOSTS = 6
UNITS = 2
#: A loser of a race for manifests tries again until then.
DEADLINE_S = 20
CLIENTS = 24


@pytest.fixture
def scarce(deployment: Deployment, make_lab: MakeLab) -> str:
    """The trait of ``HOSTS`` hosts in each cell that have ``UNITS`` cores each."""
    trait = lab_trait()
    few = {"inventories": {"VCPU": {"total": UNITS}}}
    for cell in deployment.cells:
        make_lab(cell, {f"h{number}": few for number in range(HOSTS)}, trait=trait)
    return trait


def race(api: Api, asked: Sequence[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """Post all of ``asked`` (cell of the API, body) at once, in no order, and wait for every decision."""
    shuffled = random.Random(len(asked)).sample(list(asked), len(asked))
    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        accepted = list(pool.map(lambda one: (one[0], api.post(*one)["id"]), shuffled))
        return list(
            pool.map(
                lambda one: api.reaches(*one, *PLACED, "refused", "failed", seconds=2 * DEADLINE_S),
                accepted,
            )
        )


def test_last_units_of_many_hosts_are_won_exactly(
    deployment: Deployment, api: Api, scarce: str
) -> None:
    """Every region asks for twice its share in every cell: each cell gives all it has, and not one unit more."""
    cells = deployment.cells
    capacity = HOSTS * UNITS
    body = {"resources": {"VCPU": 1}, "required_traits": [scarce], "deadline_s": 10}
    each = -(-2 * capacity // len(cells))
    done = race(
        api,
        [
            (home, body | {"cell": target})
            for home, target in itertools.product(cells, cells)
            for _ in range(each)
        ],
    )
    won = Counter(one["placements"][0]["cell"] for one in done if one["stage"] in PLACED)
    assert won == dict.fromkeys(cells, capacity)
    lost = [one for one in done if one["stage"] not in PLACED]
    assert {one["stage"] for one in lost} == {"refused"}
    for one in lost:
        assert one["reason"]["code"], one
        assert one["reason"]["message"], one
    taken = Counter(one["placements"][0]["host"] for one in done if one["stage"] in PLACED)
    assert set(taken.values()) == {UNITS}
    for cell in cells:
        assert api.free(cell, scarce, "VCPU") == 0


def test_manifests_over_all_cells_are_won_whole(
    deployment: Deployment, api: Api, scarce: str
) -> None:
    """Twice as many manifests as fit, each with one instance in every cell: those that win have all their parts,
    those that lose have none. What a race leaves over is had by whoever asks next, to the last unit and not beyond."""
    cells = deployment.cells
    capacity = HOSTS * UNITS

    def manifest(number: int) -> tuple[str, dict[str, Any]]:
        """For a group of its own, as the members that one has keep the next from their cells."""
        home = cells[number % len(cells)]
        return home, {
            "resources": {"VCPU": 1},
            "required_traits": [scarce],
            "server_group": api.group(home, "anti-affinity", "cell"),
            "cells": cells,
            "count": len(cells),
            "deadline_s": DEADLINE_S,
        }

    done = race(api, [manifest(number) for number in range(2 * capacity)])
    won = [one for one in done if one["stage"] in PLACED]
    for one in won:
        assert sorted(place["cell"] for place in one["placements"]) == cells
    assert 0 < len(won) <= capacity
    for cell in cells:
        assert api.free(cell, scarce, "VCPU") == capacity - len(won)
    for number in range(len(won), capacity + 1):
        alone = api.ask(*manifest(number))
        assert (alone["stage"] in PLACED) == (number < capacity), alone
    for cell in cells:
        assert api.free(cell, scarce, "VCPU") == 0


def test_statement_through_another_cell_is_refused_with_nothing_written(
    deployment: Deployment,
) -> None:
    """A cell's keyspace has no replica elsewhere: no node of another cell can run a claim on it, or answer one."""
    for home, elsewhere in itertools.permutations(deployment.cells, 2):
        keyspace = "placer_" + home.replace("-", "_")
        statement = SimpleStatement(
            f"INSERT INTO {keyspace}.host (host, rev) VALUES ('misrouted', 1) IF NOT EXISTS",
            consistency_level=ConsistencyLevel.QUORUM,
            serial_consistency_level=ConsistencyLevel.LOCAL_SERIAL,
        )
        for node in deployment.nodes_of(elsewhere):
            with session_on(deployment, node) as session, pytest.raises(Unavailable) as refused:
                session.execute(statement)
            assert refused.value.alive_replicas == 0
    for home in deployment.cells:
        read = SimpleStatement(
            f"SELECT host FROM placer_{home.replace('-', '_')}.host WHERE host = 'misrouted'",
            consistency_level=ConsistencyLevel.LOCAL_SERIAL,
        )
        with session_on(deployment, deployment.nodes_of(home)[0]) as session:
            assert session.execute(read).one() is None


def test_histories_and_rows_prove_the_invariants(deployment: Deployment) -> None:
    """After all that: one chain of revisions for each host, sums within capacity at every one, nothing lost or doubled."""
    must(playbook(deployment, "check"))
    verdict = json.loads((deployment.run_dir / "parts" / "check.json").read_text())
    assert verdict["violations_total"] == 0, verdict["violations"]
    assert verdict["hosts_incomplete"] == 0, verdict["incomplete"]
    assert verdict["revisions_checked"] > 0
