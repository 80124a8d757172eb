"""./demo and ./test as someone meets them who makes a mistake."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import placer
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
    (elsewhere / "requirements/venv.sh").write_text(script.replace("/usr/bin/", "/nowhere/"))
    done = call("./demo", cwd=elsewhere, env={"PATH": f"{folder}:/usr/bin:/bin", "VIRTUAL_ENV": ""})
    assert done.returncode == 1
    assert "Python 3.11 or newer is needed" in done.stderr
    assert "Python 3.9.2" in done.stderr
    assert not (elsewhere / ".demo").exists()


@pytest.mark.parametrize(
    ("active", "found"),
    [
        pytest.param(False, "usr/python3.12", id="the distribution's before one in PATH"),
        pytest.param(
            True, "venv/bin/python", id="that of an active virtual environment before both"
        ),
    ],
)
def test_python_that_is_chosen(elsewhere: Path, tmp_path: Path, active: bool, found: str) -> None:
    """Every task of Ansible starts it, and the distribution's starts in less time than one that a version manager built."""
    for name in ("usr/python3.12", "shims/python3.11", "shims/python3", "venv/bin/python"):
        fake = tmp_path / name
        fake.parent.mkdir(parents=True, exist_ok=True)
        fake.write_text('#!/bin/sh\necho "$0"\n')
        fake.chmod(0o755)
    script = (elsewhere / "requirements/venv.sh").read_text()
    here = elsewhere / "requirements/here.sh"
    here.write_text(
        script.replace("/usr/bin/", f"{tmp_path}/usr/") + '\nfind_python\necho "$python"\n'
    )
    env = {"PATH": f"{tmp_path}/shims:/usr/bin:/bin", "VIRTUAL_ENV": f"{tmp_path}/venv" * active}
    done = call("sh", str(here), cwd=elsewhere, env=env)
    assert done.stdout.strip() == str(tmp_path / found)


@pytest.fixture
def deployed(elsewhere: Path) -> Path:
    """As after ./demo, in a folder with an awkward name: an engine with two APIs, a token, and what was installed."""
    root = elsewhere / "it's a demo"
    (root / "scheduler_pkg").mkdir(parents=True)
    for name in ("demo", "requirements"):
        (elsewhere / name).rename(root / name)
    (root / "scheduler_pkg/src").symlink_to(ROOT / "scheduler_pkg/src")
    for folder in (".demo/secrets", ".demo/venv/bin", "engine"):
        (root / folder).mkdir(parents=True)
    (root / ".demo/secrets/api_token").write_text("t0ken")
    python = root / ".demo/venv/bin/python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    docker = root / "engine/docker"
    docker.write_text(
        "#!/bin/sh\necho demo-ams1-api-1 127.0.0.1:8702-\\>8700/tcp\n"
        "echo demo-nyc1-api-1 127.0.0.1:8701-\\>8700/tcp\n"
    )
    docker.chmod(0o755)
    return root


def test_env_gives_a_shell_the_command_line(deployed: Path) -> None:
    """After eval, addresses and token are set and ``placer`` runs, in any folder, however often it is done."""
    (deployed / "typer.py").write_text("raise SystemExit('the wrong typer')")
    script = 'eval "$(./demo env)"; first=$PATH; eval "$(./demo env)"; [ "$first" = "$PATH" ] || exit 9\n'
    script += 'echo "$PLACER_URL $PLACER_CELL $PLACER_URL_AMS1 $PLACER_TOKEN"; placer --version\n'
    script += "placer request create -r VCPU=two"
    path = f"{deployed}/engine:/usr/bin:/bin"
    done = call("sh", "-c", script, cwd=deployed, env={"PATH": path})
    assert done.stdout.splitlines() == [
        "http://127.0.0.1:8701 nyc1 http://127.0.0.1:8702 t0ken",
        placer.__version__,
    ], done.stderr
    assert done.returncode == 2
    assert "Write it as VCPU=2." in done.stderr


def test_env_without_what_was_installed_says_so(deployed: Path) -> None:
    """No half-set shell: nothing on stdout, and what to type."""
    (deployed / ".demo/venv/bin/python").unlink()
    done = call("./demo", "env", cwd=deployed, env={"PATH": f"{deployed}/engine:/usr/bin:/bin"})
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Make it anew: ./demo" in done.stderr


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


def test_groups_are_signalled_in_the_standard_form() -> None:
    """dash refuses `kill -INT -- -1234`, and where that is hidden Ctrl-C ends nothing."""
    for script in (ROOT / "demo", ROOT / "test", *(ROOT / "roles").rglob("*.sh")):
        code = [
            line for line in script.read_text().splitlines() if not line.lstrip().startswith("#")
        ]
        assert not re.search(r"\bkill -[A-Z]+ --", "\n".join(code)), script
