"""``placer api``: one API process (placer.api.service)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from placer import logs, telemetry
from placer import settings as config


def command(
    settings: Annotated[Path, typer.Option("--settings", help="TOML file with an [api] part.")],
) -> None:
    """Serve the HTTP API of a cell until SIGTERM."""
    from placer.api import service  # the driver is slow to import: only when needed

    loaded = config.load(settings)
    logs.configure(loaded.process)
    telemetry.start(loaded)
    try:
        service.serve(loaded)
    finally:
        telemetry.stop()
