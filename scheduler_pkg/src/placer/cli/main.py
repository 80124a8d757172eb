"""The ``placer`` command. Sub-commands are imported when they are called: each needs only its own.

Data goes to stdout, messages to stderr; how it ended is the exit code (placer.cli.exits). Never a
traceback for what a user can cause.
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from typing import Any, Final

import typer
from typer.core import TyperGroup

from placer import __version__
from placer.cli import exits
from placer.errors import PlacerError

#: Sub-command -> (module of placer.cli, one line of help). The module has ``app`` or ``command``.
_COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "request": ("request", "Ask for resources; see what became of it."),
    "select": ("select", "Where a request would go, without asking for it."),
    "host": ("host", "Look at hosts; take them out of service and back."),
    "instance": ("instance", "Look at instances; act on them."),
    "event": ("event", "What happened, in all regions."),
    "webhook": ("webhook", "Webhooks: addresses that are called for events."),
    "flavor": ("flavor", "Flavors: amounts and traits under a name."),
    "image": ("image", "Images: what their properties need of a host."),
    "server-group": ("server_group", "Server groups: instances together, or apart."),
    "quota": ("quota", "Quotas: how much of each resource class a project may hold."),
    "service": ("service", "Which processes run, and where."),
    "diag": ("diag", "Collect what all processes say of themselves."),
    "version": ("version", "Print the versions of this program and the API."),
    "api": ("api", "Serve the HTTP API."),
    "scheduler": ("scheduler", "Decide and claim; hold the agents' connections."),
    "agent": ("agent", "Manage hosts: find their claims, build, settle."),
    "schema": ("schema", "Plan or apply keyspaces, tables, roles."),
    "plugins": ("plugins", "Print what installed packages add."),
    "reference": ("reference", "Print a page of docs/reference."),
    "settings": ("settings", "Print every setting with its default."),
    "pool": ("pool", "Show and make pools that hosts share."),
    "network": ("network", "Show and make networks with their addresses."),
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
            module.app.rich_markup_mode = None  # help in plain text: rich is slow to import
            command = typer.main.get_group(module.app)
        else:
            single = typer.Typer(add_completion=False, rich_markup_mode=None)
            single.command()(module.command)
            command = typer.main.get_command(single)
        command.name = cmd_name
        return command

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the first word names; one that nobody has is answered with the nearest."""
        if args and not args[0].startswith("-") and args[0] not in _COMMANDS:
            near = difflib.get_close_matches(args[0], _COMMANDS, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else "placer --help lists them."
            ctx.fail(f"There is no command {args[0]!r}. {hint}")
        return super().resolve_command(ctx, args)

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
        app(args=argv, prog_name="placer")
    except PlacerError as error:
        print(f"placer: {error.message}", file=sys.stderr)
        if error.remedy:
            print(f"        {error.remedy}", file=sys.stderr)
        sys.exit(exits.of(error))
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("placer"):
            raise  # a part of ours is missing: a fault, not a lean installation
        print(f"placer: This command needs {error.name}, which is not here.", file=sys.stderr)
        print("        Run it in a container of the services' image.", file=sys.stderr)
        sys.exit(exits.Exit.FAILED)
    except KeyboardInterrupt:
        print("placer: stopped.", file=sys.stderr)
        sys.exit(exits.Exit.STOPPED)
    except BrokenPipeError:  # who reads stdout has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(exits.Exit.DONE)


if __name__ == "__main__":
    run()
