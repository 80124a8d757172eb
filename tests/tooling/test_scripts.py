"""./demo and ./test as someone meets them who makes a mistake."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from deployment import ROOT


def call(
    *arguments: str, env: dict[str, str] | None = None, cwd: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """The scripts alone, with nothing deployed and nothing installed."""
    (tmp_path / "requirements").mkdir()
    for name in ("demo", "requirements/venv.sh", "requirements/ansible.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / "demo").chmod(0o755)
    return tmp_path


@pytest.fixture
def empty_path(tmp_path: Path) -> str:
    """A PATH with the ordinary tools, but neither Docker nor a usable Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in ("sh", "dirname", "date", "id", "cat", "mkdir", "flock", "sed", "sort", "tr"):
        folder.joinpath(tool).symlink_to(f"/usr/bin/{tool}")
    return str(folder)


@pytest.mark.parametrize("script", ["demo", "test"])
def test_help_says_what_there_is(script: str) -> None:
    """--help answers without doing anything."""
    done = call(f"./{script}", "--help")
    assert done.returncode == 0
    assert "./demo down" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        pytest.param(["upp"], "Unknown command: upp", id="a command that does not exist"),
        pytest.param(["env", "-v"], "takes no options", id="options where there are none"),
    ],
)
def test_wrong_words_are_refused(elsewhere: Path, arguments: list[str], complaint: str) -> None:
    """Exit code 2, what was wrong, and where to look; nothing is made."""
    done = call("./demo", *arguments, cwd=elsewhere)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert "./demo --help" in done.stderr
    assert not (elsewhere / ".demo").exists()


@pytest.mark.parametrize(
    ("command", "remedy"),
    [
        pytest.param("env", "Start it: ./demo", id="env"),
        pytest.param("status", "Start it: ./demo", id="status"),
        pytest.param("report", "Make one: ./demo", id="report"),
    ],
)
@pytest.mark.skipif(os.geteuid() != 0, reason="another user is first told about Docker")
def test_nothing_to_show_is_an_error_with_a_remedy(
    elsewhere: Path, empty_path: str, command: str, remedy: str
) -> None:
    """Exit code 1, nothing on stdout (so that eval does nothing), and what to type."""
    done = call("./demo", command, cwd=elsewhere, env={"PATH": empty_path})
    assert done.returncode == 1
    assert done.stdout == ""
    assert remedy in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="another user is first told about Docker")
def test_old_python_is_refused_before_anything_is_made(elsewhere: Path, tmp_path: Path) -> None:
    """A machine without Python 3.11 hears which one it needs."""
    folder = tmp_path / "old"
    folder.mkdir()
    for version in ("3", "3.11", "3.12", "3.13"):
        fake = folder / f"python{version}"
        fake.write_text("#!/bin/sh\ncase $1 in --version) echo Python 3.9.2;; *) exit 1;; esac\n")
        fake.chmod(0o755)
    script = (elsewhere / "requirements/venv.sh").read_text()
    (elsewhere / "requirements/venv.sh").write_text(script.replace(" /usr/bin/python3;", ";"))
    done = call("./demo", cwd=elsewhere, env={"PATH": f"{folder}:/usr/bin:/bin"})
    assert done.returncode == 1
    assert "Python 3.11 or newer is needed" in done.stderr
    assert "Python 3.9.2" in done.stderr
    assert not (elsewhere / ".demo").exists()


def test_one_run_at_a_time(elsewhere: Path) -> None:
    """A second ./demo does not interfere with a running one."""
    if os.geteuid() != 0:
        pytest.skip("another user is first told about Docker")
    (elsewhere / ".demo").mkdir()
    lock = elsewhere / ".demo/lock"
    with subprocess.Popen(["flock", "--no-fork", str(lock), "sleep", "30"]) as holder:
        try:
            for _ in range(100):
                if call("flock", "-n", str(lock), "true").returncode:
                    break
            done = call("./demo", "down", cwd=elsewhere)
        finally:
            holder.terminate()
    assert done.returncode == 1
    assert "Another ./demo is at work" in done.stderr
