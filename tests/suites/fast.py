"""Checks that need neither Docker nor a network: seconds each, run on every change."""

from __future__ import annotations

import random
import re
import shutil
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from suites.process import ROOT, Ended, run, tracked
from suites.result import Result

# A loop over hypothesis examples that hangs shall not hang the whole run.
SUITE_SECONDS = 300

# Tests of the package that need a Docker Engine.
CONTAINERS = "scheduler_pkg/tests/containers"
# Tests of the package that try thousands of seeds, explore all states of a model, or measure.
SEEDED = (
    "scheduler_pkg/tests/simulation",
    "scheduler_pkg/tests/model",
    "scheduler_pkg/tests/performance",
)
# For pytest: a process for each processor.
SPREAD = ["--numprocesses=auto", "--dist=worksteal"]


def layout(_: Sequence[str]) -> Result:
    """Every Python file is formatted (ruff format)."""
    ended = run(["ruff", "format", "--check", "."], seconds=SUITE_SECONDS)
    unformatted = re.search(r"(\d+) files? would be reformatted", ended.output)
    failed = int(unformatted.group(1)) if unformatted else 0
    formatted = re.search(r"(\d+) files? already formatted", ended.output)
    return _result(ended, int(formatted.group(1)) if formatted else 0, failed)


def lint(_: Sequence[str]) -> Result:
    """No finding of ruff's rules (pyproject.toml)."""
    ended = run(["ruff", "check", "--output-format=concise", "."], seconds=SUITE_SECONDS)
    findings = re.findall(r"^(\S+?):\d+:\d+: ", ended.output, re.MULTILINE)
    return _result(ended, len(tracked("*.py")) - len(set(findings)), len(findings))


def types(_: Sequence[str]) -> Result:
    """mypy --strict on the package, the roles' Python and the tests."""
    python = tracked("*.py")
    outside = [name for name in python if not name.startswith(("scheduler_pkg/src/", "roles/wan/"))]
    ended = run(
        ["mypy", "scheduler_pkg/src", "roles/wan/files/image/placer_wan", *outside],
        seconds=SUITE_SECONDS,
    )
    clean = re.search(r"no issues found in (\d+) source files?", ended.output)
    dirty = re.search(r"errors? in (\d+) files? \(checked (\d+) source files?\)", ended.output)
    if clean:
        return _result(ended, int(clean.group(1)), 0)
    if dirty:
        return _result(ended, int(dirty.group(2)) - int(dirty.group(1)), int(dirty.group(1)))
    return _result(ended, 0, 1)


def shell(_: Sequence[str]) -> Result:
    """Every shell script parses; shellcheck has nothing to say where it is installed."""
    passed, failed, said = 0, 0, ""
    linter = shutil.which("shellcheck")
    for script in _shell_scripts():
        interpreter = "bash" if "bash" in _first_line(script) else "sh"
        ended = run([interpreter, "-n", script], seconds=30)
        if ended.status == 0 and linter:
            ended = run([linter, "--external-sources", script], seconds=60)
        passed, failed = passed + (ended.status == 0), failed + (ended.status != 0)
        said += ended.output
    return Result(passed, failed, said)


def yaml_files(_: Sequence[str]) -> Result:
    """yamllint, strict."""
    files = tracked("*.yml", "*.yaml")
    ended = run(
        ["yamllint", "--config-file=.config/yamllint.yml", "--strict", "--format=parsable", *files],
        seconds=SUITE_SECONDS,
    )
    findings = re.findall(r"^(\S+?):\d+:\d+: ", ended.output, re.MULTILINE)
    return _result(ended, len(files) - len(set(findings)), len(set(findings)))


def ansible(_: Sequence[str]) -> Result:
    """ansible-lint, profile production, warnings count."""
    ended = run(["ansible-lint", "--offline", "--strict", "--nocolor"], seconds=SUITE_SECONDS)
    totals = re.search(
        r"(\d+) failure\(s\), (\d+) warning\(s\).* in (\d+) files processed", ended.output
    )
    if not totals:
        return _result(ended, 0, 1)
    failures, warnings, files = (int(number) for number in totals.groups())
    return _result(ended, max(files - failures - warnings, 0), failures + warnings)


def specs(_: Sequence[str]) -> Result:
    """A role's defaults and argument_specs name the same variables, and its README is generated from them."""
    said: list[str] = []
    roles = [path for path in sorted((ROOT / "roles").iterdir()) if path.is_dir()]
    checks = [problem for role in roles for problem in (_undocumented(role), _stale_readme(role))]
    said = [problem for problem in checks if problem]
    return Result(len(checks) - len(said), len(said), "\n".join(said))


def inventories(_: Sequence[str]) -> Result:
    """Every inventory passes playbooks/validate.yml, which touches no machine."""
    passed, failed, said = 0, 0, ""
    for inventory in sorted(path for path in (ROOT / "inventories").iterdir() if path.is_dir()):
        ended = run(
            ["ansible-playbook", "-i", str(inventory), "playbooks/validate.yml"], seconds=120
        )
        passed, failed = passed + (ended.status == 0), failed + (ended.status != 0)
        said += ended.output if ended.status else ""
    return Result(passed, failed, said)


def unit(options: Sequence[str]) -> Result:
    """Unit, contract and property tests of the package."""
    apart = [f"--ignore={path}" for path in (CONTAINERS, *SEEDED)]
    return pytest("scheduler_pkg/tests", options=[*options, *apart], seconds=2 * SUITE_SECONDS)


def simulation(options: Sequence[str]) -> Result:
    """Thousands of seeds of the protocol's code against a simulated store, all states of a model of it, mutants of both, and costs against thresholds."""
    return pytest(*SEEDED, options=options, seconds=900)


def tooling(options: Sequence[str]) -> Result:
    """Tests of what surrounds the package: the scripts, the roles' Python, the documents."""
    paths = [path for path in ("tests/tooling", "tests/ansible") if (ROOT / path).is_dir()]
    return pytest(*paths, options=options, seconds=2 * SUITE_SECONDS)


def pytest(
    *paths: str, options: Sequence[str] = (), seconds: float = SUITE_SECONDS, live: bool = False
) -> Result:
    """Count by pytest's own record. A random failure can be replayed by the seed that is printed."""
    given = (option for option in options if option.startswith("--hypothesis-seed"))
    seed = next(given, f"--hypothesis-seed={random.randrange(2**32)}")
    chosen = [*options, *([] if seed in options else [seed])]
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "record.xml"
        ended = run(
            ["python", "-m", "pytest", f"--junitxml={record}", *chosen, *paths],
            seconds=seconds,
            live=live,
        )
        if not record.exists():
            return Result(0, 1, ended.output)
        suite = next(ET.parse(record).getroot().iter("testsuite"))
    total, failed = (int(suite.get("tests", 0)), _failures(suite))
    skipped = int(suite.get("skipped", 0))
    # Exit 5: nothing matched. That is for the caller of -k to judge, over all suites.
    if ended.status not in (0, 5) and not failed:
        failed = 1
    said = ended.output
    if failed:
        said += f"\nto repeat it: ./test {seed} -k NAME\n"
    return Result(total - failed - skipped, failed, said, skipped)


def fix() -> int:
    """Format, lint and generated READMEs, put right by their tools."""
    for command in (["ruff", "check", "--fix", "."], ["ruff", "format", "."]):
        print(run(command, seconds=SUITE_SECONDS).output, end="")
    status = 0
    for role in sorted(path for path in (ROOT / "roles").iterdir() if path.is_dir()):
        ended = write_readme(role)
        status = status or ended.status
        print(f"{role.name}/README.md: {ended.output.strip() or 'written'}")
    return status


def _failures(suite: ET.Element) -> int:
    return int(suite.get("failures", 0)) + int(suite.get("errors", 0))


def _result(ended: Ended, passed: int, failed: int) -> Result:
    """A tool that ended badly without a finding it could count has failed all the same."""
    if ended.status and not failed:
        failed = 1
    return Result(max(passed, 0), failed, ended.output)


def _first_line(script: str) -> str:
    with (ROOT / script).open("rb") as file:
        return file.readline(200).decode("utf-8", "replace")


def _shell_scripts() -> list[str]:
    candidates = [name for name in tracked() if "." not in Path(name).name or name.endswith(".sh")]
    candidates += tracked(".ci/run")
    return sorted(
        {name for name in candidates if re.match(r"#!.*\b(ba|da)?sh\b", _first_line(name))}
    )


def _undocumented(role: Path) -> str:
    """Variables that only one of defaults/main.yml and meta/argument_specs.yml names."""
    defaults = set(_read(role / "defaults/main.yml"))
    entry_points = _read(role / "meta/argument_specs.yml").get("argument_specs", {})
    main = entry_points.get("main", {}).get("options") or {}
    required = {name for name, option in main.items() if option.get("required")}
    optional = {
        name
        for entry in entry_points.values()
        for name, option in (entry.get("options") or {}).items()
        if not option.get("required") and "default" in option
    }
    problems = []
    if missing := sorted(defaults - set(main) - optional):
        problems.append(f"argument_specs.yml lacks {', '.join(missing)}")
    if missing := sorted(optional - defaults):
        problems.append(f"defaults/main.yml lacks {', '.join(missing)}")
    if wrong := sorted(required & defaults):
        problems.append(f"required, yet with a default: {', '.join(wrong)}")
    return f"{role.name}: {'; '.join(problems)}" if problems else ""


def _stale_readme(role: Path) -> str:
    readme = role / "README.md"
    if not readme.exists():
        return f"{role.name}: no README.md (./test fix makes it)"
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / role.name
        shutil.copytree(role / "meta", copy / "meta")
        shutil.copy(readme, copy / "README.md")
        ended = write_readme(copy)
        if ended.status:
            return f"{role.name}: {ended.output}"
        if (copy / "README.md").read_text() != readme.read_text():
            return f"{role.name}: README.md does not follow argument_specs.yml (./test fix)"
    return ""


def write_readme(role: Path) -> Ended:
    """Generate the table of a role's README below its hand-written words."""
    return run(["aar-doc", "--output-mode=inject", str(role), "markdown"], seconds=60)


def _read(path: Path) -> dict[str, Any]:
    import yaml  # here, as ./test --help runs before anything is installed

    if not path.exists():
        return {}
    content = yaml.safe_load(path.read_text())
    return content if isinstance(content, dict) else {}
