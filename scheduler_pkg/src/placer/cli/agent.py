"""``placer agent``: run an agent process, or show where a running one stands."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import Annotated, Final

import msgspec
import structlog
import typer

from placer import diagnosis, failpoints, logs, telemetry
from placer import settings as config
from placer.agents import drivers
from placer.agents.agent import Agent, Status
from placer.agents.journal import Journal
from placer.agents.link import connector
from placer.errors import InvalidInput, NotFound
from placer.identity import client_context
from placer.settings import Settings

log = structlog.get_logger(__name__)

app = typer.Typer(help="Manage hosts: find their claims, build, settle.")

_STATUS_EVERY_S: Final = 1.0
_STATUS_STALE_S: Final = 10.0
#: Between two looks at the status file, for who waits.
_LOOK_S: Final = 0.2


@app.callback(invoke_without_command=True)
def run(
    context: typer.Context,
    settings: Annotated[
        Path | None, typer.Option("--settings", help="TOML file with an [agent] part.")
    ] = None,
) -> None:
    """Run an agent until SIGTERM; it finishes what it has begun within agent.shutdown_grace_s."""
    if context.invoked_subcommand is not None:
        return
    if settings is None:
        raise InvalidInput("An agent needs settings.", remedy="Give their file with --settings.")
    loaded = config.load(settings)
    logs.configure(loaded.process)
    failpoints.arm(os.environ)
    telemetry.start(loaded)
    try:
        asyncio.run(_run(loaded))
    finally:
        telemetry.stop()


@app.command()
def status(
    settings: Annotated[Path, typer.Option("--settings", help="The running agent's TOML file.")],
    ready: Annotated[
        bool, typer.Option("--ready", help="Exit with 1 unless every host is reported.")
    ] = False,
    wait_s: Annotated[
        float, typer.Option("--wait-s", min=0, help="Let it come to that for so many seconds.")
    ] = 0.0,
) -> None:
    """Print, as JSON, where the agent with these settings stands."""
    path = _status_file(config.load(settings))
    until = time.monotonic() + wait_s
    now = _last_status(path)
    while (now is None or (ready and not _all_reported(now))) and time.monotonic() < until:
        time.sleep(_LOOK_S)
        now = _last_status(path)
    if now is None:
        raise NotFound(
            f"No agent has written {path} for {_STATUS_STALE_S:g} s.",
            remedy="Is it running? Its log says why not.",
        )
    sys.stdout.write(msgspec.json.encode(now).decode() + "\n")
    if ready and not _all_reported(now):
        raise typer.Exit(1)


def _last_status(path: Path) -> Status | None:
    """What the running agent said last; None if it has not said anything for long."""
    try:
        text, age_s = path.read_bytes(), time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return None
    return msgspec.json.decode(text, type=Status) if age_s < _STATUS_STALE_S else None


def _all_reported(now: Status) -> bool:
    return now.hosts == now.reported > 0


async def _run(settings: Settings) -> None:
    part = settings.agent
    if part is None:
        raise InvalidInput(
            "The settings have no [agent] part.", remedy="Give an agent's settings file."
        )
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    tls = client_context(settings.tls)
    with (
        contextlib.closing(Journal(part.journal_dir)) as journal,
        contextlib.closing(drivers.make(settings)) as driver,
    ):
        agent = Agent(settings, driver, journal, connector(tls, part))
        diagnosis.dump_on_signal(agent.depths)
        async with asyncio.TaskGroup() as tasks:
            publisher = tasks.create_task(_publish(agent, _status_file(settings)))
            await agent.run(stop)
            publisher.cancel()


async def _publish(agent: Agent, path: Path) -> None:
    """Keep the status file fresh, for ``placer agent status``."""
    fresh = path.with_suffix(".new")
    while True:
        text = msgspec.json.encode(agent.status())
        try:
            await asyncio.to_thread(_replace, path, fresh, text)
        except OSError as error:
            # A full disk: the status grows stale and says so; the agent works on.
            log.error("status_not_written", path=str(path), why=str(error))
        await asyncio.sleep(_STATUS_EVERY_S)


def _replace(path: Path, fresh: Path, text: bytes) -> None:
    fresh.write_bytes(text)
    os.replace(fresh, path)


def _status_file(settings: Settings) -> Path:
    if settings.agent is None:
        raise InvalidInput(
            "The settings have no [agent] part.", remedy="Give an agent's settings file."
        )
    return settings.agent.journal_dir / "status.json"
