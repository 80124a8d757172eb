"""``placer agent status``: what a running agent said last, and waiting for it to have reported its hosts."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner, Result

from placer.agents.agent import Status
from placer.cli.agent import app
from placer.errors import NotFound

Ask = Callable[..., Result]


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    folder = tmp_path / "journal"
    folder.mkdir()
    return folder


@pytest.fixture
def ask(tmp_path: Path, journal: Path) -> Ask:
    """The command, for an agent whose journal is in ``journal``."""
    settings = tmp_path / "agent.toml"
    settings.write_text(
        f'process = "a1"\ncell = "c1"\n[cluster]\ndeployment = "test"\n'
        '[[cluster.cells]]\nname = "c1"\nregion = "r1"\ndatacenter = "c1"\n'
        f'[agent]\nname = "a1"\njournal_dir = "{journal}"\nschedulers = ["wss://s1:1"]\n'
        'sim_hosts_file = "hosts.json"\n'
        '[tls]\ncertificate = "c"\nkey = "k"\nca = "a"\n'
    )
    return lambda *options: CliRunner().invoke(
        app, ["status", "--settings", str(settings), *options]
    )


def say(journal: Path, reported: int, hosts: int = 2) -> None:
    """As the agent itself does: whole, or not at all."""
    now = Status("a1", "c1", "s1", hosts, reported, waiting=0, working=0, claims={})
    (journal / "new").write_bytes(msgspec.json.encode(now))
    os.replace(journal / "new", journal / "status.json")


def test_it_prints_what_the_agent_said_last(ask: Ask, journal: Path) -> None:
    """Ready or not; with --ready the exit code says which."""
    say(journal, reported=1)
    assert msgspec.json.decode(ask().stdout)["reported"] == 1
    assert ask().exit_code == 0
    assert ask("--ready").exit_code == 1
    say(journal, reported=2)
    assert ask("--ready").exit_code == 0


def test_it_waits_until_all_hosts_are_reported(ask: Ask, journal: Path) -> None:
    """An agent that has not even started when it is asked counts as one that is not there yet."""
    first = threading.Timer(0.3, say, (journal, 1))
    second = threading.Timer(0.6, say, (journal, 2))
    started = time.monotonic()
    first.start()
    second.start()
    ended = ask("--ready", "--wait-s", "20")
    assert ended.exit_code == 0
    assert msgspec.json.decode(ended.stdout)["reported"] == 2
    assert 0.5 < time.monotonic() - started < 10


def test_it_waits_no_longer_than_it_was_told(ask: Ask, journal: Path) -> None:
    """Then it says how far the agent is."""
    say(journal, reported=1)
    started = time.monotonic()
    ended = ask("--ready", "--wait-s", "0.5")
    assert ended.exit_code == 1
    assert msgspec.json.decode(ended.stdout)["reported"] == 1
    assert 0.5 <= time.monotonic() - started < 5


def test_an_agent_that_says_nothing_is_none(ask: Ask, journal: Path) -> None:
    """A file of long ago is one of a process that is gone."""
    assert isinstance(ask().exception, NotFound)
    say(journal, reported=2)
    os.utime(journal / "status.json", (1, 1))
    assert isinstance(ask("--ready", "--wait-s", "0.3").exception, NotFound)


def test_hosts_that_are_none_are_not_ready(ask: Ask, journal: Path) -> None:
    """An agent that has not read its hosts yet."""
    say(journal, reported=0, hosts=0)
    assert ask("--ready").exit_code == 1
