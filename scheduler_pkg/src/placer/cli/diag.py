"""``placer diag``: what all processes and agents say of themselves, in one file that can be handed on."""

from __future__ import annotations

import io
import sys
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

from placer import __version__
from placer.cli.connection import Connection, Token, Url, connect, segment
from placer.errors import InvalidInput, PlacerError

#: Processes that are asked at once.
_AT_ONCE: Final = 8
_TIMEOUT_S: Final = 20.0


def command(
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", help="The file to write; without it placer-diag-TIME.tar.gz here."
        ),
    ] = None,
    url: Url = "",
    token: Token = "",
    agents: Annotated[
        int, typer.Option(min=0, help="Agents to ask of each scheduler; the others are counted.")
    ] = 20,
) -> None:
    """Collect settings, versions, views, last errors, depths and stacks of all processes and agents.

    Agents are asked by the schedulers that they are connected to. Secrets are left out by the processes themselves. One that does not answer is said in the file.
    """
    connection = connect(url, token, _TIMEOUT_S)
    services = connection.get("/v1/services")["services"]
    running = [one["name"] for one in services if one["state"] != "stopped"]
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        told = dict(
            zip(running, threads.map(lambda name: _ask(connection, name), running), strict=True)
        )
        asked, left_out = _agents(told, agents)
        answers = threads.map(lambda one: _ask(connection, *one), asked)
        agents_told = {agent: answer for (_, agent), answer in zip(asked, answers, strict=True)}
    at = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    path = output or Path(f"placer-diag-{at}.tar.gz")
    files = {"client.json": {"placer": __version__, "at": at}, "services.json": services}
    files |= {f"processes/{name}.json": answer for name, answer in told.items()}
    files |= {f"agents/{segment(name)}.json": answer for name, answer in agents_told.items()}
    files["not_asked.json"] = {"agents": left_out}
    _write(path, f"placer-diag-{at}", files)
    print(path)
    _say(told, "processes")
    _say(agents_told, "agents")
    if left_out:
        print(f"{len(left_out)} more agents were not asked: give --agents.", file=sys.stderr)


def _say(told: dict[str, dict[str, Any]], what: str) -> None:
    silent = [name for name, answer in told.items() if "not_told" in answer]
    print(f"{len(told) - len(silent)} of {len(told)} {what} told.", file=sys.stderr)
    for name in silent:
        print(f"{name}: {told[name]['not_told']}", file=sys.stderr)


def _agents(
    told: dict[str, dict[str, Any]], at_most: int
) -> tuple[list[tuple[str, str]], list[str]]:
    """(scheduler, agent) of up to ``at_most`` agents of each scheduler, and the names of the others."""
    asked: dict[str, str] = {}
    left_out: set[str] = set()
    for scheduler, answer in told.items():
        names = [one["name"] for one in answer.get("views", {}).get("agents", ())]
        asked |= dict.fromkeys(names[:at_most], scheduler)
        left_out |= set(names[at_most:])
    return [(scheduler, agent) for agent, scheduler in asked.items()], sorted(left_out - set(asked))


def _ask(connection: Connection, name: str, agent: str = "") -> dict[str, Any]:
    """The diagnosis of a process, or of an agent connected to it, or why there is none."""
    of = f"agents/{segment(agent)}/" if agent else ""
    try:
        found: dict[str, Any] = connection.get(f"/v1/services/{segment(name)}/{of}diagnosis")
    except PlacerError as error:
        return {"not_told": error.message}
    return found


def _write(path: Path, folder: str, files: dict[str, Any]) -> None:
    """A .tar.gz of JSON files, for the owner's eyes only; raises InvalidInput when it cannot be written."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in files.items():
            text = msgspec.json.format(msgspec.json.encode(content), indent=2)
            entry = tarfile.TarInfo(f"{folder}/{name.replace('..', '_')}")
            entry.size, entry.mtime, entry.mode = len(text), int(time.time()), 0o600
            archive.addfile(entry, io.BytesIO(text))
    try:
        path.touch(mode=0o600)
        path.write_bytes(packed.getvalue())
    except OSError as error:
        raise InvalidInput(
            f"Cannot write {path}: {error.strerror}.", remedy="Give another file with --output."
        ) from error
