"""``placer settings``: every knob with its type, default and meaning, from placer.settings itself."""

from __future__ import annotations

import inspect
import typing
from pathlib import Path
from typing import Any, Final

import msgspec
import typer

from placer import settings as config

_PARTS: Final = (
    config.Settings,
    config.Cluster,
    config.Cell,
    config.Store,
    config.Tls,
    config.Api,
    config.Scheduler,
    config.Agent,
    config.Docker,
    config.History,
    config.Telemetry,
)
_WORDS: Final[dict[Any, str]] = {
    str: "string",
    int: "whole number",
    float: "number",
    bool: "true or false",
    Path: "path",
}
_TABLE: Final = {
    config.Cell: "[[cluster.cells]]",
    config.Docker: "[agent.docker]",
    config.Settings: "top level",
}


def command() -> None:
    """Print the page docs/reference/settings.md (Markdown)."""
    typer.echo(page(), nl=False)


def page() -> str:
    """The whole page; a test keeps the file in docs equal to it."""
    lines = [
        "# Settings",
        "",
        "Each process reads one TOML file at start (`--settings FILE`); the role `placer` writes it.",
        "What `[cluster]` says must be the same in all processes of a deployment; the rest is a",
        "process's own. Unknown keys, wrong types and contradictions are refused with their names.",
        "",
        "This page is printed by `placer settings`.",
    ]
    for part in _PARTS:
        lines += ["", f"## {_TABLE.get(part, f'[{part.__name__.lower()}]')}", ""]
        lines += [
            line.replace("``", "`") for line in inspect.cleandoc(part.__doc__ or "").splitlines()
        ]
        lines += ["", "| key | type | default |", "|---|---|---|"]
        lines += [_row(field) for field in msgspec.structs.fields(part) if not _is_part(field)]
    return "\n".join(lines) + "\n"


def _is_part(field: msgspec.structs.FieldInfo) -> bool:
    """Whether the field is a section of its own."""
    return _type_name(field.type).removeprefix("list of ") in {part.__name__ for part in _PARTS}


def _row(field: msgspec.structs.FieldInfo) -> str:
    return f"| `{field.encode_name}` | {_type_name(field.type)} | {_default(field)} |"


def _type_name(kind: Any) -> str:
    """The type in words, e.g. ``tuple[str, ...]`` as "list of string"."""
    arguments = [arg for arg in typing.get_args(kind) if arg not in (type(None), Ellipsis)]
    origin = typing.get_origin(kind)
    if origin is tuple:
        return f"list of {_type_name(arguments[0])}"
    if origin is dict:
        return f"table of {_type_name(arguments[1])}"
    if arguments:
        return _type_name(arguments[0])  # something or None
    return _WORDS.get(kind) or str(kind.__name__)


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    value = field.default
    if value is msgspec.NODEFAULT or value is None or value in ("", (), {}):
        return "none"
    return f"`{value}`"
