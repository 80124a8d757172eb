"""Which version agents and schedulers of neighbouring releases speak."""

from __future__ import annotations

import pytest

from placer.model.protocol import VERSIONS, Versions


@pytest.mark.parametrize(
    ("agent", "scheduler", "chosen"),
    [
        pytest.param(Versions(1, 1), Versions(1, 1), 1, id="equal releases"),
        pytest.param(Versions(1, 1), Versions(1, 2), 1, id="the scheduler was upgraded first"),
        pytest.param(Versions(1, 2), Versions(1, 1), 1, id="the agent was upgraded first"),
        pytest.param(Versions(1, 2), Versions(2, 3), 2, id="each dropped and added one"),
        pytest.param(Versions(2, 3), Versions(1, 5), 3, id="the highest that both know"),
        pytest.param(Versions(1, 1), Versions(2, 3), None, id="an agent too old"),
        pytest.param(Versions(4, 5), Versions(1, 3), None, id="an agent too new"),
    ],
)
def test_the_version_that_both_speak(
    agent: Versions, scheduler: Versions, chosen: int | None
) -> None:
    """The same whichever side asks."""
    assert agent.agree(scheduler) == chosen
    assert scheduler.agree(agent) == chosen


def test_this_release_agrees_with_itself() -> None:
    """The range is not empty."""
    assert VERSIONS.agree(VERSIONS) == VERSIONS.newest
