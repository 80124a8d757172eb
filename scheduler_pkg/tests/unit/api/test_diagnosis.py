"""What a process tells of itself: enough to see what is wrong, and never a secret."""

from __future__ import annotations

import asyncio
import os
import signal
import tarfile
import time
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from structlog.testing import capture_logs

from placer import diagnosis, redaction
from placer.cli import diag
from placer.model.service import Service, ServiceKind
from placer.settings import Agent as AgentSettings
from placer.settings import Cell, Cluster, Docker, Settings, read_secret

from .conftest import Api
from .live import serving

PLANTED = "pl4nted-s3cret-value"


def settings(folder: Path) -> Settings:
    """Settings with a secret in every place where somebody may put one."""
    command = ("run", "--password", PLANTED, f"--token={PLANTED}")
    docker = Docker(url=f"tcp://me:{PLANTED}@engine", command=command)
    agent = AgentSettings("a1", folder, docker=docker)
    cells = (Cell("c1", "r1", "c1", ()),)
    return Settings("c1-x-1", "c1", Cluster("test", cells), folder / "token", agent=agent)


async def test_no_secret_leaves_a_process(tmp_path: Path) -> None:
    """Not from its settings, its errors, its views, or the names of its tasks."""
    (tmp_path / "token").write_text("read-from-a-file-1\n")
    secrets = (PLANTED, read_secret(tmp_path / "token"))
    error = {"event": "x", "error": f"Authorization: Bearer {PLANTED}", "url": f"h://u:{PLANTED}@h"}
    diagnosis.note(None, "warning", error)
    diagnosis.note(None, "error", {"event": f"refused {secrets[1]}", "db_password": PLANTED})
    task = asyncio.create_task(asyncio.sleep(9), name=f"with {secrets[1]}")
    views = {"token": PLANTED, "said": [f"password={PLANTED}"], "nested": {secrets[1]: 1}}
    told = diagnosis.diagnosis(settings(tmp_path), {"queue": 3}, views)
    task.cancel()
    text = msgspec.json.encode(told).decode()
    assert [secret for secret in secrets if secret in text] == []
    assert told.settings["service_token_file"] == str(tmp_path / "token")
    assert told.depths == {"queue": 3}


async def test_errors_are_bounded_and_the_newest_stay() -> None:
    """A process that fails a thousand times a second tells of the last ones."""
    for number in range(1000):
        diagnosis.note(None, "error", {"event": f"e{number}", "text": "x" * 100_000})
    assert len(diagnosis._errors) == 200
    assert diagnosis._errors[-1]["event"] == "e999"
    assert len(diagnosis._errors[-1]["text"]) == 4000
    before = list(diagnosis._errors)
    assert diagnosis.note(None, "info", {"event": "fine"}) == {"event": "fine"}
    assert list(diagnosis._errors) == before
    try:
        raise ValueError("why")
    except ValueError:
        diagnosis.note(None, "error", {"event": "failed", "exc_info": True})
    assert "ValueError: why" in diagnosis._errors[-1]["exc_info"]


async def _inner() -> None:
    await asyncio.sleep(9)


async def _outer() -> None:
    await _inner()


async def test_the_signal_dumps_stacks_and_depths() -> None:
    """SIGUSR1 shows where each task waits, through all that it awaits; the process goes on."""
    task = asyncio.create_task(_outer(), name="waits")
    with capture_logs() as lines:
        diagnosis.dump_on_signal(lambda: {"queue": 7})
        await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGUSR1)
        await asyncio.sleep(0.05)
    asyncio.get_running_loop().remove_signal_handler(signal.SIGUSR1)
    task.cancel()
    (dump,) = [line for line in lines if line["event"] == "diagnosis"]
    assert dump["depths"] == {"queue": 7}
    (stack,) = [stack for stack in dump["tasks"] if stack[0] == "waits"]
    assert [line.split()[-1] for line in stack[2:4]] == ["_outer", "_inner"]
    assert any(name.startswith("MainThread") for name in dump["threads"])


def scheduler(name: str, **more: object) -> Service:
    fields: dict[str, object] = {
        "name": name,
        "kind": ServiceKind.SCHEDULER,
        "region": "nyc",
        "cell": "nyc1",
        "version": "1",
        "started_ms": 1,
        "heard_ms": 1,
        "address": "http://s1:8790",
    }
    return Service(**(fields | more))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "token"),
    [
        pytest.param(ServiceKind.SCHEDULER, "service-token", id="a scheduler"),
        pytest.param(ServiceKind.API, "api-token", id="another API server"),
    ],
)
async def test_a_process_is_asked_with_its_own_kind_of_token(
    api: Api, kind: ServiceKind, token: str
) -> None:
    """Schedulers know the service token, API servers that of the API."""
    own = api.client.get("/v1/services/nyc1-api-1/diagnosis").content
    api.schedulers.all(lambda _: httpx.Response(200, content=own))
    api.stores.services.values["x"] = scheduler("x", kind=kind)
    await asyncio.sleep(1.0)  # the look at the start is a second old
    assert api.client.get("/v1/services/x/diagnosis").json()["process"] == "nyc1-api-1"
    assert api.schedulers.asked[-1].headers["authorization"] == f"Bearer {token}"
    api.schedulers.all(lambda _: httpx.Response(500))
    answer = api.client.get("/v1/services/x/diagnosis")
    assert answer.json()["errors"][0]["code"] == "placer.unreachable"


def test_the_bundle_has_every_process_and_says_who_was_silent(tmp_path: Path) -> None:
    """One .tar.gz, for its owner only, with no token in it."""
    path = tmp_path / "out.tar.gz"
    with serving(tmp_path) as live:
        live.stores.services.values["far"] = scheduler("far", region="ams")
        live.stores.services.values["gone"] = scheduler("gone", stopped=True)
        time.sleep(1.0)  # the look at the start is a second old
        diag.command(path, live.url, live.token)
    assert path.stat().st_mode & 0o077 == 0
    with tarfile.open(path) as archive:
        files = {
            name.partition("/")[2]: archive.extractfile(name).read()  # type: ignore[union-attr]
            for name in archive.getnames()
        }
    assert sorted(files) == [
        *("client.json", "not_asked.json", "processes/far.json"),
        *("processes/nyc1-api-1.json", "services.json"),
    ]
    assert b"no address" in files["processes/far.json"]
    assert msgspec.json.decode(files["processes/nyc1-api-1.json"])["process"] == "nyc1-api-1"
    assert not [name for name, text in files.items() if live.token.encode() in text]


async def test_an_agent_is_asked_by_its_scheduler(api: Api) -> None:
    """By its name there; what the scheduler says of an agent that is not there is the answer."""
    own = api.client.get("/v1/services/nyc1-api-1/diagnosis").content
    api.stores.services.values["s1"] = scheduler("s1")
    await asyncio.sleep(1.0)  # the look at the start is a second old
    api.schedulers.all(lambda _: httpx.Response(200, content=own))
    assert api.client.get("/v1/services/s1/agents/a1/diagnosis").status_code == 200
    assert api.schedulers.asked[-1].url.raw_path == b"/internal/v1/agents/a1/diagnosis"
    problem = {"code": "placer.no_agent", "detail": "It is not here.", "remedy": "Look."}
    api.schedulers.all(lambda _: httpx.Response(503, json={"errors": [problem]}))
    answer = api.client.get("/v1/services/s1/agents/a1/diagnosis")
    assert answer.json()["errors"][0]["code"] == "placer.no_agent"
    assert api.client.get("/v1/services/nyc1-api-1/agents/a1/diagnosis").status_code == 404


def test_so_many_agents_of_each_scheduler_are_asked() -> None:
    """The others are named, so that nobody takes them for well."""
    told: dict[str, dict[str, Any]] = {
        "s1": {"views": {"agents": [{"name": f"a{n}"} for n in range(3)]}},
        "s2": {"views": {"agents": [{"name": "a9"}]}},
        "api": {"views": {}},
        "s3": {"not_told": "silent"},
    }
    asked, left_out = diag._agents(told, 2)
    assert asked == [("s1", "a0"), ("s1", "a1"), ("s2", "a9")]
    assert left_out == ["a2"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("a token bucket holds 5", "a token bucket holds 5", id="words stay"),
        pytest.param("Bearer abcd1234", "Bearer [hidden]", id="a header"),
        pytest.param("redis://u:abcd@h/0", "redis://[hidden]@h/0", id="an address"),
        pytest.param("password=abcd, user=me", "password=[hidden], user=me", id="an assignment"),
        pytest.param("API_KEY: abcd", "API_KEY: [hidden]", id="as YAML"),
    ],
)
def test_what_looks_like_a_secret_is_hidden(text: str, told: str) -> None:
    """Also one that this process never read."""
    assert redaction.scrubbed(text) == told


def test_long_words_take_no_longer_than_others() -> None:
    """Twenty times as long, about twenty times as slow: not four hundred."""

    def seconds(length: int) -> float:
        began = time.process_time()
        for _ in range(5):
            redaction.scrubbed("x" * length)
        return time.process_time() - began

    seconds(4000)
    assert seconds(80_000) < 100 * max(seconds(4000), 1e-4)
