"""``placer report``: put the parts of a run together, keep them as one file, print them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from placer.errors import InvalidInput
from placer.report import parts, screen
from placer.report.report import build


def command(
    run_dir: Annotated[
        Path, typer.Option(help="Directory of the run; its parts are in parts/*.json.")
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON instead of tables.")
    ] = False,
) -> None:
    """Merge the parts of a run into report.json and print it. Safe to repeat."""
    report = build(parts.read(run_dir))
    encoded = msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"
    path = run_dir / "report.json"
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(encoded)
        part.replace(path)
    except OSError as error:
        raise InvalidInput(
            f"Cannot write {path}: {error.strerror}.",
            remedy="Run it as whoever made the folder; the demo's is that of who started it.",
        ) from error
    if as_json:
        sys.stdout.write(encoded.decode())
    else:
        screen.show(report, screen.console())
