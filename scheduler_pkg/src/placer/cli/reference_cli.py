"""The page docs/reference/cli.md: every command for people and scripts, from the commands themselves."""

from __future__ import annotations

from typing import Any, Final

import typer

from placer.cli import exits
from placer.cli.main import app

_HEAD: Final = """# The command line

`placer` speaks to the API that `PLACER_URL` names (or `--url`), with the token in `PLACER_TOKEN` (or
`--token`): the token itself, or the file that holds it. `eval "$(./demo env)"` sets both for the demo.

Data goes to stdout: tables, or with `--json` what the API gave. Messages go to stderr, what happened
first and then what to do. A script branches on the exit code:
"""


def page() -> str:
    """The whole page; a test keeps the file in docs equal to it."""
    lines = [_HEAD, "| exit code | meaning |", "|---|---|"]
    lines += [f"| {code.value} | {meaning} |" for code, meaning in exits.MEANING.items()]
    lines += ["", "This page is printed by `placer reference cli`."]
    root: Any = typer.main.get_command(app)
    context = _context(root, "placer", None)
    for name in root.list_commands(context):
        lines += _command(root.get_command(context, name), f"placer {name}", context)
    return "\n".join(lines) + "\n"


def _command(command: Any, path: str, parent: Any) -> list[str]:
    """The section of a command, or those of a group's commands."""
    context = _context(command, path, parent)
    if hasattr(command, "list_commands"):
        return [
            line
            for name in command.list_commands(context)
            for line in _command(command.get_command(context, name), f"{path} {name}", context)
        ]
    lines = ["", f"## {path}", "", *_text(command.help)]
    rows = [row for one in command.params if (row := _row(one, context))]
    if rows:
        lines += ["", "| option | meaning | default |", "|---|---|---|", *rows]
    return lines


def _row(parameter: Any, context: Any) -> str:
    if parameter.name == "help":
        return ""
    argument = parameter.param_type_name == "argument"
    names = [parameter.human_readable_name] if argument else [*parameter.opts]
    if parameter.required:
        default = "required"
    elif getattr(parameter, "envvar", None):
        default = f"`{parameter.envvar}`"
    else:
        value = parameter.get_default(context)
        empty = value is None or value is False or value in ("", [], ())
        default = "" if empty else f"`{getattr(value, 'value', value)}`"
    meaning = (getattr(parameter, "help", "") or "").replace("|", "\\|")
    return f"| {', '.join(f'`{name}`' for name in names)} | {meaning} | {default} |"


def _text(text: str | None) -> list[str]:
    return [line.strip().replace("``", "`") for line in (text or "").strip().splitlines()]


def _context(command: Any, name: str, parent: Any) -> Any:
    return command.context_class(command, info_name=name, parent=parent)
