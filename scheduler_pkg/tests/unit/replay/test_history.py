"""What the replay records of its operations, and that the checker can join it."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from placer.checker import files
from placer.history import Answer, ClientHistory, Operation
from placer.model.request import RequestSpec
from placer.replay import client, plan
from placer.replay.fleet import built_in
from placer.replay.runner import Progress, Run, Workload

from .fake_api import Deployment, Trouble, problem

CELLS = ("ams1", "nyc1")


async def recorded(
    directory: Path, trouble: Trouble | None = None, count: int = 40, unfinished: bool = False
) -> list[Operation]:
    """Operations of a replay of ``count`` requests; those of its warm-up are left out."""
    world = Deployment(built_in(CELLS, 30, seed=1))
    if trouble:
        world.trouble = trouble
    if unfinished:
        world.unfinished = {f"{cell}.{number}" for cell in CELLS for number in range(1000)}
    history = ClientHistory(directory, "replay-1")
    targets = [world.target(cell, history=history) for cell in CELLS]
    planned = plan.requests(CELLS, count, seed=1)
    workload = Workload(name="built-in", seed=1, concurrency=4, requests=planned, special=False)
    await Run(targets, workload, Progress()).run()
    history.close()
    loaded = files.load(files.find([directory]))
    assert loaded.damage == []
    operations = [event for event in loaded.events if isinstance(event, Operation)]
    assert {operation.trace for operation in operations} == set(world.traces)
    return operations[len(plan.warm_up(CELLS, 1)) :]


async def test_every_request_is_recorded_with_its_end(tmp_path: Path) -> None:
    """Where it was posted, what it asked, what it got; each under a trace id of its own."""
    operations = await recorded(tmp_path, count=200)
    assert len(operations) == 200
    assert {operation.outcome for operation in operations} == {Answer.OK, Answer.REFUSED}
    for operation in operations:
        assert operation.region == operation.cell[:3]
        assert operation.request
        assert operation.stage in ("placed", "refused")
        assert len(operation.claims) == (operation.outcome is Answer.OK)
        assert operation.resources
        assert operation.ended_us > operation.started_us
    assert len({operation.trace for operation in operations}) == 200


@pytest.mark.parametrize(
    ("answer", "outcome", "code"),
    [
        pytest.param(
            problem(400, "placer.invalid_input"),
            Answer.REFUSED,
            "placer.invalid_input",
            id="turned away: refused",
        ),
        pytest.param(
            problem(503, "placer.store_unknown"),
            Answer.UNKNOWN,
            "placer.store_unknown",
            id="the store did not say: unknown",
        ),
        pytest.param(httpx.Response(502), Answer.UNKNOWN, "http_502", id="a gateway: unknown"),
        pytest.param(
            httpx.Response(200, content=b"{}"),
            Answer.UNKNOWN,
            "unreadable_answer",
            id="an answer that cannot be read: unknown",
        ),
    ],
)
async def test_answers_that_are_no_request(
    tmp_path: Path, answer: httpx.Response, outcome: Answer, code: str
) -> None:
    """Only what certainly did nothing is a no."""

    def trouble(cell: str, spec: RequestSpec) -> httpx.Response | None:
        return answer if spec.name == "replay-1-3" else None

    operations = await recorded(tmp_path, trouble, count=3)
    assert [(o.outcome, o.code) for o in operations if not o.request] == [(outcome, code)]


async def test_lost_connection_is_unknown(tmp_path: Path) -> None:
    """Whether it was heard nobody knows."""

    def trouble(cell: str, spec: RequestSpec) -> httpx.Response | None:
        if spec.name == "replay-1-2":
            raise httpx.ReadError("gone")
        return None

    operations = await recorded(tmp_path, trouble, count=3)
    assert [o.code for o in operations if o.outcome is Answer.UNKNOWN] == ["ReadError"]


async def test_request_that_was_followed_is_one_operation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the post to the final answer, however often it was looked at."""
    monkeypatch.setattr(client, "POLL_EVERY_S", 0.0)
    operations = await recorded(tmp_path, unfinished=True, count=5)
    assert len(operations) == 5
    assert all(operation.stage in ("placed", "refused") for operation in operations)
