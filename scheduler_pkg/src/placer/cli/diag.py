"""``placer diag``: what all processes say of themselves, in one file that can be handed on."""

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
) -> None:
    """Collect settings, versions, views, last errors, depths and stacks of all processes.

    Secrets are left out by the processes themselves. One that does not answer is said in the file.
    """
    connection = connect(url, token, _TIMEOUT_S)
    services = connection.get("/v1/services")["services"]
    running = [one["name"] for one in services if one["state"] != "stopped"]
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        told = dict(
            zip(running, threads.map(lambda name: _ask(connection, name), running), strict=True)
        )
    at = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    path = output or Path(f"placer-diag-{at}.tar.gz")
    files = {"client.json": {"placer": __version__, "at": at}, "services.json": services}
    files |= {f"processes/{name}.json": answer for name, answer in told.items()}
    _write(path, f"placer-diag-{at}", files)
    silent = [name for name, answer in told.items() if "not_told" in answer]
    print(path)
    print(f"{len(told) - len(silent)} of {len(told)} processes told.", file=sys.stderr)
    for name in silent:
        print(f"{name}: {told[name]['not_told']}", file=sys.stderr)


def _ask(connection: Connection, name: str) -> dict[str, Any]:
    """The diagnosis of a process, or why there is none."""
    try:
        found: dict[str, Any] = connection.get(f"/v1/services/{segment(name)}/diagnosis")
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
