"""The door to the engine: the SDK's errors as ours, and calls that were given up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
import requests
from docker.errors import APIError, DockerException

from placer.agents.drivers.base import DriverError, DriverSilent
from placer.agents.drivers.engine import DiskFull, Engine, Exists, Missing
from placer.errors import InvalidInput
from placer.settings import Docker


def api_error(status: int, words: str) -> APIError:
    response = requests.Response()
    response.status_code = status
    return APIError("failed", response=response, explanation=words)


def raising(error: Exception) -> Callable[[Any], None]:
    def call(api: Any) -> None:
        raise error

    return call


@pytest.fixture
def engine() -> Engine:
    """One that talks to nothing: its client is never made."""
    engine = Engine(Docker())
    engine._connected = lambda: None  # type: ignore[method-assign]
    return engine


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        pytest.param(
            api_error(404, "No such container: x"), Missing, "No such container", id="not there"
        ),
        pytest.param(api_error(409, "name is in use"), Exists, "in use", id="there already"),
        pytest.param(
            api_error(500, "write /var/lib/docker/x: no space left on device"),
            DiskFull,
            "disk of the Docker Engine is full.*docker system prune",
            id="a full disk",
        ),
        pytest.param(api_error(500, "Address already in use"), DriverError, "Address", id="other"),
        pytest.param(requests.ReadTimeout("timed out"), DriverSilent, "Is it running", id="silent"),
        pytest.param(DockerException("no socket"), DriverSilent, "no socket", id="no socket"),
        pytest.param(ConnectionResetError("reset"), DriverSilent, "reset", id="reset"),
    ],
)
async def test_errors(
    engine: Engine, error: Exception, kind: type[DriverError], words: str
) -> None:
    """Translated in one place, with what the engine said."""
    with pytest.raises(kind, match=words) as caught:
        await engine.ask("x", raising(error))
    assert type(caught.value) is kind


async def test_a_call_that_was_given_up_is_waited_for(engine: Engine) -> None:
    """Who cleans up after it must not come too early; others do not wait."""
    go_on = threading.Event()
    task = asyncio.create_task(engine.ask("c1", lambda api: go_on.wait(5)))
    await asyncio.sleep(0.02)
    task.cancel()
    waiting = asyncio.create_task(engine.settled("c1"))
    await engine.settled("c2")
    await asyncio.sleep(0.02)
    assert not waiting.done()
    go_on.set()
    await asyncio.wait_for(waiting, 5)
    await engine.settled("c1")
    engine.close()


def test_only_a_local_socket(engine: Engine) -> None:
    """An engine behind a port would take orders from anybody who reaches it."""
    with pytest.raises(InvalidInput, match="local socket"):
        Engine(Docker(url="tcp://10.0.0.1:2375"))
