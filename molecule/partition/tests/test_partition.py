"""What a region that is cut off loses, and what it keeps."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterator, Sequence
from functools import partial

import pytest

from client import Api
from deployment import Deployment
from faults import Cluster
from lab import until
from load import Load, Try, all_pairs_claim, claimed, every_pair, summary

testinfra_hosts = ["ansible://machines"]

#: How long a region stays cut off; it is noticed within the first part of it.
CUT_S = 25
NOTICED_S = 10
#: Turns of a link that comes and goes.
UP_S, DOWN_S = 3, 4
#: A claim into a region that is cut off: the answer of whoever has not noticed yet, and of whoever has.
FIRST_ANSWER_S = 15
ANSWER_S = 5
#: Between two requests of a client: the load is to be there all the time, not to keep the machine busy with itself.
PAUSE_S = 2.0
#: The requirement: after a heal, a claim from every region into every region. All ask at once, so that what this takes on
#: a cluster that is whole is measured before the cut and comes on top.
HEALED_S = 5
#: What was written meanwhile is sent by a timer of each node, after it has seen that the others are back.
CONVERGED_S = 60


@contextlib.contextmanager
def cut_off(cluster: Cluster, kind: str, region: str, others: Sequence[str]) -> Iterator[None]:
    """``region`` cut off from all ``others`` in one of the ways, for as long as the context."""
    with contextlib.ExitStack() as faults:
        match kind:
            case "clean":
                faults.enter_context(cluster.cut(region=region))
            case "deaf":
                for other in others:
                    faults.enter_context(cluster.cut_one_way(source=other, target=region))
            case "dumb":
                for other in others:
                    faults.enter_context(cluster.cut_one_way(source=region, target=other))
            case "flapping":
                faults.enter_context(cluster.flapping(region=region, up_s=UP_S, down_s=DOWN_S))
            case _:
                raise AssertionError(kind)
        yield


def split(deployment: Deployment, tries: Sequence[Try], region: str) -> tuple[list[Try], list[Try]]:
    """Tries that stay on one side of the cut, and those that would have to cross it."""
    inside = set(deployment.cells_of(region))
    stay = [one for one in tries if (one.home in inside) == (one.target in inside)]
    return stay, [one for one in tries if one not in stay]


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("clean", id="nothing in, nothing out"),
        pytest.param("deaf", id="nothing in"),
        pytest.param("dumb", id="nothing out"),
        pytest.param("flapping", id="on and off"),
    ],
)
def test_region_cut_off_goes_on_alone(
    deployment: Deployment, api: Api, api_token: str, cluster: Cluster, kind: str
) -> None:
    """Each side claims at home as if nothing were. What would cross is refused, at once and with the reason. After the
    heal every region claims in every other within seconds, and all of them list the same instances."""
    regions = deployment.regions
    region = regions[-1]
    others = [other for other in regions if other != region]
    name = f"cut-{uuid.uuid4().hex[:8]}"
    load = Load(deployment, api_token, every_pair(deployment.cells), pause_s=PAUSE_S)
    with load.running():
        until(
            lambda: {(one.home, one.target) for one in load.tries if one.placed} == set(load.pairs),
            seconds=60,
            what="every client has placed something",
        )
        whole_s = max(all_pairs_claim(api, deployment).values())
        with cut_off(cluster, kind, region, others):
            cut_at = time.monotonic()
            time.sleep(NOTICED_S)
            made = {cell: claimed(api, cell, cell, name) for cell in deployment.cells}
            assert all(made.values()), made
            time.sleep(max(0.0, CUT_S - (time.monotonic() - cut_at)))
        healed_at = time.monotonic()
        took = all_pairs_claim(api, deployment)
    took_s = max(took.values())
    print(f"{kind}: a claim from every region into every region {took_s:.1f} s after the heal")
    each = ", ".join(f"{home} in {target} {s:.1f}" for (home, target), s in took.items())
    print(f"(as long as all was whole {whole_s:.1f} s; {each})")
    print(summary(load.tries))

    stay, cross = split(deployment, load.since(cut_at, healed_at), region)
    assert all(one.placed for one in stay), summary(stay)
    assert {(one.home, one.target) for one in stay} == set(split_pairs(deployment, region))
    assert all(one.repeats == 0 for one in load.tries), summary(load.tries)
    if kind != "flapping":
        refused_fast(cross, cut_at, deployment, region)
    assert took_s <= HEALED_S + whole_s
    converged(api, deployment, cluster, name, made)


def split_pairs(deployment: Deployment, region: str) -> list[tuple[str, str]]:
    """Pairs of cells on the same side of the cut."""
    inside = set(deployment.cells_of(region))
    return [
        pair for pair in every_pair(deployment.cells) if (pair[0] in inside) == (pair[1] in inside)
    ]


def refused_fast(cross: Sequence[Try], cut_at: float, deployment: Deployment, region: str) -> None:
    """Nothing crosses a cut, and whoever asks hears so with the cell's name; at once when it is known."""
    late = [one for one in cross if one.at > cut_at + NOTICED_S]
    assert late
    for one in cross:
        assert not one.placed, summary(cross)
        assert one.took_s <= FIRST_ANSWER_S, summary(cross)
        assert one.stage == "refused", summary(cross)
        assert one.target in one.said, summary(cross)
    slowest = max(one.took_s for one in late)
    print(
        f"a claim across: {len(late)} answers once it is known, slowest {slowest:.2f} s: {late[-1].said}"
    )
    assert slowest <= ANSWER_S, summary(late)


def converged(
    api: Api, deployment: Deployment, cluster: Cluster, name: str, made: dict[str, str]
) -> None:
    """Every node sees every node up, and every region lists what each has built while it was alone."""
    began = time.monotonic()
    cluster.wait_healthy()
    for cell in deployment.cells:
        for home in deployment.cells:
            until(
                partial(lists, api, cell, home, name, made[home]),
                seconds=CONVERGED_S,
                what=f"{cell} lists what {home} built while regions were apart",
            )
    print(f"all regions list the same {time.monotonic() - began:.1f} s later")


def lists(api: Api, cell: str, home: str, name: str, request: str) -> bool:
    """Whether the API of ``cell`` lists what was built in ``home`` under ``name``, and nothing else."""
    found = api.get(cell, f"/v1/instances?name={name}&cell={home}")["instances"]
    return {one["request"] for one in found} == {request}
