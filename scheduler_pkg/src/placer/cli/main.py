"""The ``placer`` command. Sub-commands are imported when they are called: each needs only its own.

Exit codes: 0 done; 1 it could not be done (the message says why); 2 the input is wrong; 130 stopped
by Ctrl-C. Data goes to stdout, messages to stderr; never a traceback for what a user can cause.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any, Final

import typer
from typer.core import TyperGroup

from placer import __version__
from placer.errors import InvalidInput, PlacerError

#: Sub-command -> (module of placer.cli, one line of help). The module has ``app`` or ``command``.
_COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "api": ("api", "Serve the HTTP API."),
    "scheduler": ("scheduler", "Decide and claim; hold the agents' connections."),
    "agent": ("agent", "Manage hosts: find their claims, build, settle."),
    "schema": ("schema", "Plan or apply keyspaces, tables, roles."),
    "settings": ("settings", "Print every setting with its default."),
    "cluster": ("cluster", "Look at the Cassandra cluster from every node."),
    "workload": ("workload", "Write the hosts and requests of a workload."),
    "replay": ("replay", "Post a workload to the APIs of all regions."),
    "check": ("check", "Prove the invariants from histories and store."),
    "report": ("report", "Put the parts of a run together and print them."),
}


class _LazyGroup(TyperGroup):
    """Commands by name, their modules imported on use (start-up stays fast, dependencies few)."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"placer.cli.{_COMMANDS[cmd_name][0]}")
        command: Any
        if hasattr(module, "app"):
            command = typer.main.get_group(module.app)
        else:
            single = typer.Typer(add_completion=False)
            single.command()(module.command)
            command = typer.main.get_command(single)
        command.name = cmd_name
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List the commands without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


app = typer.Typer(
    cls=_LazyGroup,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Placement of requests on hosts in many regions, never booking a host twice.",
)


@app.callback(invoke_without_command=True)
def _root(version: bool = typer.Option(False, "--version", help="Print the version.")) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def run(argv: list[str] | None = None) -> Any:
    """Entry point of the ``placer`` script."""
    try:
        app(args=argv)
    except PlacerError as error:
        print(f"placer: {error.message}", file=sys.stderr)
        if error.remedy:
            print(f"        {error.remedy}", file=sys.stderr)
        sys.exit(2 if isinstance(error, InvalidInput) else 1)
    except KeyboardInterrupt:
        print("placer: stopped.", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    run()
