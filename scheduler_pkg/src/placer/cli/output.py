"""What commands print: tables for people, JSON for programs, both on stdout."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec
import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON as the API gave it.")]
OnlyId = Annotated[bool, typer.Option("--id", help="Print the id alone, for a script.")]

#: Where nobody looks on, lines are as long as they are.
_WIDTH_UNSEEN: Final = 10_000


def print_json(data: Any) -> None:
    """``data`` indented."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(data), indent=2).decode() + "\n")


def json_line(data: Any) -> str:
    """``data`` on one line."""
    return msgspec.json.encode(data).decode()


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table; its numbers to the right."""
    from rich import box  # slow to import: only where a table is printed
    from rich.console import Console
    from rich.table import Table

    found = [tuple(row) for row in rows]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for index, column in enumerate(columns):
        numbers = bool(found) and all(isinstance(row[index], (int, float)) for row in found)
        table.add_column(
            column, justify="right" if numbers else "left", overflow="fold", no_wrap=index == 0
        )
    for row in found:
        table.add_row(*(str(value) for value in row))
    seen = sys.stdout.isatty()
    Console(width=None if seen else _WIDTH_UNSEEN, highlight=False, markup=False).print(table)


def print_pairs(pairs: Iterable[tuple[str, object]]) -> None:
    """Names and values, one a line; what is empty is left out."""
    found = [(name, str(value)) for name, value in pairs if value not in ("", None, [], {}, ())]
    width = max((len(name) for name, _ in found), default=0)
    for name, value in found:
        print(f"{name.ljust(width)}  {value}")


def show_table(
    data: Any, columns: Sequence[str], rows: Iterable[Sequence[object]], *, as_json: bool
) -> None:
    """``data`` for programs, or ``rows`` of it for people."""
    if as_json:
        print_json(data)
    else:
        print_table(columns, rows)


def show_pairs(data: Any, pairs: Iterable[tuple[str, object]], *, as_json: bool) -> None:
    """``data`` for programs, or ``pairs`` of it for people."""
    if as_json:
        print_json(data)
    else:
        print_pairs(pairs)


def amounts(resources: dict[str, int]) -> str:
    """{"VCPU": 2} as "VCPU=2"."""
    return " ".join(f"{name}={amount}" for name, amount in resources.items())


def at(ms: int) -> str:
    """Milliseconds since 1970 as a time that people read."""
    if not ms:
        return ""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
