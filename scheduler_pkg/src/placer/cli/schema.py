"""``placer schema``: plan or apply keyspaces, tables, roles and grants (placer.store.bootstrap)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from placer import settings as config

app = typer.Typer(no_args_is_help=True, help="Plan or apply keyspaces, tables, roles and grants.")

SettingsFile = Annotated[
    Path, typer.Option("--settings", help="TOML file; store.username is the administrator.")
]
SecretsDir = Annotated[
    Path, typer.Option("--secrets", help="Folder with a file per service role: its password.")
]


@app.command()
def plan(settings: SettingsFile, secrets: SecretsDir) -> None:
    """Print what apply would change, as JSON; change nothing."""
    _run(settings, secrets, make=False)


@app.command()
def apply(settings: SettingsFile, secrets: SecretsDir) -> None:
    """Bring the cluster to this version's schema; print what changed, as JSON."""
    _run(settings, secrets, make=True)


@app.command()
def forget(
    settings: SettingsFile,
    cells: Annotated[
        list[str], typer.Argument(help="Cells that the settings do not name any more.")
    ],
) -> None:
    """Drop the keyspaces of cells that were removed, and what the cluster knows of them, for good.

    Refuses cells of which the settings still name one. Safe to repeat.
    """
    from placer.store import bootstrap

    result = bootstrap.forget(config.load(settings), cells)
    sys.stdout.write(msgspec.json.encode(result).decode() + "\n")


def _run(settings: Path, secrets: Path, *, make: bool) -> None:
    from placer.store import bootstrap  # the driver is slow to import: only when needed

    result = bootstrap.run(config.load(settings), secrets, make=make)
    sys.stdout.write(msgspec.json.encode(result).decode() + "\n")
