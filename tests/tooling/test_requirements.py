"""The lock files: complete, hashed, in step with the package, and naming no place to fetch from."""

from __future__ import annotations

import re
import tomllib

import pytest
from packaging.requirements import Requirement

from deployment import ROOT

LOCKS = ["ansible", "runtime", "telemetry", "dev"]


def pins(name: str) -> dict[str, str]:
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    return dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", text, re.MULTILINE))


def wanted(name: str) -> list[Requirement]:
    lines = (ROOT / "requirements" / f"{name}.in").read_text().splitlines()
    words = [line.split("#")[0].strip() for line in lines]
    return [Requirement(word) for word in words if word and not word.startswith("-")]


@pytest.mark.parametrize("name", LOCKS)
def test_lock_pins_what_is_wanted(name: str) -> None:
    """Each wanted package is in the lock, in a version that its list allows."""
    found = pins(name)
    for requirement in wanted(name):
        assert requirement.name in found, f"run requirements/lock: no {requirement.name}"
        assert requirement.specifier.contains(found[requirement.name]), requirement


@pytest.mark.parametrize("name", LOCKS)
def test_every_pin_has_hashes_and_no_address(name: str) -> None:
    """pip can check what it is given, and takes it from the index that the machine is set up for."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    entries = re.split(r"^(?=[a-z])", text, flags=re.MULTILINE)[1:]
    assert entries
    for entry in entries:
        assert "--hash=sha256:" in entry, entry.splitlines()[0]
    assert "://" not in text
    assert "--index" not in text


def test_runtime_lock_covers_the_package() -> None:
    """What scheduler_pkg/pyproject.toml depends on is what the image's lock holds."""
    project = tomllib.loads((ROOT / "scheduler_pkg/pyproject.toml").read_text())["project"]
    found = pins("runtime")
    for dependency in map(Requirement, project["dependencies"]):
        assert dependency.name in found
        assert dependency.specifier.contains(found[dependency.name]), dependency


def test_telemetry_lock_covers_the_extra() -> None:
    """Where spans are exported, the image's lock holds what the package's extra wants besides."""
    project = tomllib.loads((ROOT / "scheduler_pkg/pyproject.toml").read_text())["project"]
    found = pins("telemetry")
    for wanted_too in map(Requirement, project["optional-dependencies"]["telemetry"]):
        assert wanted_too.specifier.contains(found[wanted_too.name]), wanted_too
    assert pins("runtime").items() <= found.items()


def test_locks_agree() -> None:
    """A package has one version in all locks, so that tests run what is shipped."""
    dev = pins("dev")
    for name in ("ansible", "runtime", "telemetry"):
        for package, version in pins(name).items():
            if package != "deprecated":  # two versions, by Python's
                assert dev[package] == version, package
