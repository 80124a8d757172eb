"""A command starts fast because it imports little; it runs where the services' libraries are not."""

from __future__ import annotations

import subprocess
import sys

#: What only the services need, and what is slow to import.
SLOW = ("cassandra", "httpx", "litestar", "os_traits", "prometheus_client", "rich", "structlog")
COMMANDS = (
    *("request", "select", "host", "instance", "flavor", "image"),
    *("server_group", "pool", "network", "version"),
)


def test_commands_for_people_import_no_library_of_the_services() -> None:
    """Nor tables, which are imported when one is printed."""
    script = (
        "import importlib, sys\n"
        f"for name in {COMMANDS!r}: importlib.import_module('placer.cli.' + name)\n"
        f"print(*sorted(set({SLOW!r}) & set(sys.modules)))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert ended.stdout.split() == []


def test_a_command_of_the_services_says_what_it_lacks() -> None:
    """Where only the libraries of the command line are, there is a message and no traceback."""
    script = (
        "import sys\n"
        "sys.modules['structlog'] = None\n"
        "from placer.cli.main import run\n"
        "run(['api', '--settings', 'x.toml'])\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 1
    assert ended.stderr.splitlines() == [
        "placer: This command needs structlog, which is not here.",
        "        Run it in a container of the services' image.",
    ]


def test_a_command_misspelt_is_answered_with_the_nearest() -> None:
    """Exit code 2, and the program's own name whichever way it was started."""
    ended = subprocess.run(
        [sys.executable, "-m", "placer", "reqest"],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 2
    assert "There is no command 'reqest'. Did you mean 'request'?" in ended.stderr
    assert "Usage: placer [OPTIONS]" in ended.stderr
