"""``placer scheduler``: one scheduler process (placer.scheduler.service)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from placer import logs, telemetry
from placer import settings as config


def command(
    settings: Annotated[Path, typer.Option("--settings", help="TOML file of this process.")],
) -> None:
    """Decide requests of this cell's log, claim, and hold its agents' connections."""
    from placer.scheduler import service  # the driver is slow to import: only when needed

    loaded = config.load(settings)
    logs.configure(loaded.process)
    telemetry.start(loaded)
    try:
        service.serve(loaded)
    finally:
        telemetry.stop()
