"""Plug-ins: parts that an installed package names under an entry point of ours.

One shape for resource classes, filters and weighers: a table of built-in parts in code, to which
every installed package adds. A built-in name cannot be replaced, and a package that cannot be loaded
stops the process at its start: a filter that is silently missing would choose wrong hosts.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from placer.errors import InvalidInput


@cache
def found(group: str) -> tuple[str, ...]:
    """Names that installed packages give under ``group``, sorted; loads nothing. Looked up once."""
    return tuple(sorted(entry_points(group=group).names))


def load(group: str, built_in: Mapping[str, Any]) -> dict[str, Any]:
    """What the entry points of ``group`` name, by name, less the names of ``built_in``.

    Raises InvalidInput naming the package that cannot be loaded.
    """
    loaded: dict[str, Any] = {}
    for entry in sorted(entry_points(group=group), key=lambda entry: entry.name):
        if entry.name in built_in:
            continue
        try:
            loaded[entry.name] = entry.load()
        except (ImportError, AttributeError) as error:
            package = entry.dist.name if entry.dist else "?"
            raise InvalidInput(
                f"{entry.name} of {group}, from the package {package}, cannot be loaded: {error}.",
                remedy=f"Correct or uninstall {package}.",
            ) from error
    return loaded
