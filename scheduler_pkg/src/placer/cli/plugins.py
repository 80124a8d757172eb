"""``placer plugins``: what installed packages add to Placer, loaded to see that it can be."""

from __future__ import annotations

from typing import Any, Final

from placer.cli import output
from placer.cli.output import AsJson

#: Entry point of each kind of part.
_KINDS: Final[dict[str, str]] = {
    "resource class": "placer.resource_classes",
    "filter": "placer.filters",
    "weigher": "placer.weighers",
    "agent driver": "placer.agent_drivers",
}


def command(as_json: AsJson = False) -> None:
    """Print the parts that installed packages add; ends with 2 if one cannot be loaded.

    It is about the installation that it is run in: run it in a container of the services.
    """
    from importlib.metadata import entry_points

    from placer.model import plugins, resource_classes
    from placer.scheduler import filters, weighers

    resource_classes.names()
    filters.table()
    weighers.table()
    plugins.load(_KINDS["agent driver"], {})
    found: list[dict[str, Any]] = [
        {
            "kind": kind,
            "name": entry.name,
            "package": entry.dist.name if entry.dist else "",
            "version": entry.dist.version if entry.dist else "",
        }
        for kind, group in _KINDS.items()
        for entry in sorted(entry_points(group=group), key=lambda entry: entry.name)
    ]
    if as_json:
        output.print_json(found)
    else:
        columns = ("kind", "name", "package", "version")
        output.print_table(columns, [[one[column] for column in columns] for one in found])
