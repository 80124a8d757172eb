"""The replay against a deployment in memory: what it posts, and what it says of the answers."""

from __future__ import annotations

import httpx
import pytest

from placer.errors import PlacerError, Unauthorized
from placer.model.request import RequestSpec
from placer.replay import client, plan, runner
from placer.replay.fleet import built_in
from placer.replay.outcome import Result
from placer.replay.runner import BURST, CONTENDERS_PER_REGION, Progress, Run, Workload

from .fake_api import Deployment, problem

CELLS = ("ams1", "nyc1", "sgp1")


def deployment(hosts: int = 90) -> Deployment:
    return Deployment(built_in(CELLS, hosts, seed=1))


async def replayed(
    world: Deployment, count: int = 200, *, token: str | None = None, **more: object
) -> Result:
    targets = [world.target(cell, token) if token else world.target(cell) for cell in CELLS]
    fields: dict[str, object] = {
        "name": "built-in",
        "seed": 1,
        "concurrency": 8,
        "requests": plan.requests(CELLS, count, seed=1),
    }
    return await Run(targets, Workload(**{**fields, **more}), Progress()).run()  # type: ignore[arg-type]


async def test_every_request_is_counted_once() -> None:
    """placed + refused + errors is all that was posted after the warm-up."""
    world = deployment()
    result = await replayed(world)
    # 200 of the workload, 64 of the burst, 4 from each of three regions in the race.
    assert result.requests == 200 + BURST + 3 * CONTENDERS_PER_REGION
    assert result.placed + sum(result.refused.values()) + result.errors == result.requests
    assert result.errors == 0
    assert result.warm_up
    assert len(world.posted) == result.requests + result.warm_up.requests


async def test_race_for_the_last_unit_has_one_winner() -> None:
    """All regions post at once; a bare-metal host is had by one."""
    result = await replayed(deployment(), 10)
    assert result.race
    assert result.race.contenders == 3 * CONTENDERS_PER_REGION
    assert result.race.winners == 1
    assert result.race.refused == result.race.contenders - 1


async def test_race_without_bare_metal_is_for_all_that_a_host_has_left() -> None:
    """Where no host is let as a whole, the race is for all CPUs of the smallest."""
    world = deployment()
    for rows in world.rows.values():
        for name in [n for n, row in rows.items() if "VCPU" not in row.records[0].inventories]:
            del rows[name]
    result = await replayed(world, 10)
    assert result.race
    assert result.race.winners == 1


async def test_burst_goes_to_one_host_at_once() -> None:
    """All requests of the burst name one host and overlap."""
    world = deployment()
    result = await replayed(world, 10)
    assert result.burst
    named = [spec for _, spec in world.posted if spec.name == "burst"]
    assert {(spec.cell, spec.host) for spec in named} == {(result.burst.cell, result.burst.host)}
    assert (result.burst.requests, result.burst.placed) == (BURST, BURST)
    assert world.under_way_max >= BURST


async def test_clients_are_bounded() -> None:
    """In the closed loop no more than ``concurrency`` requests are under way."""
    world = deployment()
    await replayed(world, 100, concurrency=5, special=False)
    assert world.under_way_max == 5


async def test_own_and_other_cells_are_measured_apart() -> None:
    """Claims in the own cell take 5 ms in this deployment, in another 100 ms."""
    result = await replayed(deployment())
    assert (result.local_ms.p50, result.local_ms.p99) == (5.0, 5.0)
    assert result.cross_cell
    assert {pair.p50 for pair in result.cross_cell} == {100.0}
    assert all(pair.from_cell != pair.to_cell for pair in result.cross_cell)
    assert set(result.local_by_cell) == set(CELLS)


async def test_refusals_say_why() -> None:
    """What cannot fit is refused with the cause that ruled out most hosts."""
    result = await replayed(deployment())
    assert set(result.refused) == {"no_valid_host"}
    assert any(why.startswith("no_valid_host, trait_missing:") for why in result.refused_because)
    assert "impossible" in result.by_kind
    assert result.by_kind["impossible"].placed == 0


async def test_errors_are_told_from_refusals() -> None:
    """A failing service is an error; an answer that says no is a refusal."""
    world = deployment()
    answers = iter(
        [
            problem(503, "placer.store_unavailable"),
            problem(400, "placer.unknown_host"),
            httpx.Response(502, content=b"bad gateway"),
            httpx.Response(200, content=b"{}"),
        ]
    )

    def trouble(cell: str, spec: RequestSpec) -> httpx.Response | None:
        return next(answers, None) if spec.name.startswith("replay-") else None

    world.trouble = trouble
    result = await replayed(world, 50, special=False)
    assert result.refused["placer.unknown_host"] == 1
    assert result.error_codes == {
        "placer.store_unavailable": 1,
        "http_502": 1,
        "unreadable_answer": 1,
    }


async def test_overloaded_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """An API that is full has done nothing: the same request may be posted again."""
    monkeypatch.setattr(client, "OVERLOADED_PAUSE_S", 0.0)
    world = deployment()
    full = iter([problem(503, "placer.overloaded")] * 3)
    world.trouble = lambda cell, spec: next(full, None)
    result = await replayed(world, 20, special=False)
    assert result.errors == 0


async def test_accepted_request_is_followed_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """202 is not the end; the request is asked for until it is decided."""
    monkeypatch.setattr(client, "POLL_EVERY_S", 0.0)
    world = deployment()
    world.unfinished = {f"{cell}.{number}" for cell in CELLS for number in range(500)}
    result = await replayed(world, 20, special=False)
    assert result.errors == 0
    assert result.placed > 0


async def test_wrong_token_ends_the_replay() -> None:
    """The first answer says that the token is wrong; nothing more is posted."""
    world = deployment()
    with pytest.raises(Unauthorized, match="token"):
        await replayed(world, token="other")
    assert world.posted == []


async def test_too_few_hosts_end_the_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its hosts the workload would say nothing; the message says how many there are."""
    monkeypatch.setattr(runner, "READY_S", 0.0)
    with pytest.raises(PlacerError, match="Only 90 hosts"):
        await replayed(deployment(), hosts_min=1523)
