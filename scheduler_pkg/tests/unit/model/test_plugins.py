"""Plug-ins from installed packages: what is loaded, and what cannot be."""

from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints

import pytest

from placer.errors import InvalidInput
from placer.model import plugins

GROUP = "placer.resource_classes"


def installed(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    """As if packages with these entry points were installed."""
    made = EntryPoints(EntryPoint(name, value, GROUP) for name, value in values.items())
    monkeypatch.setattr(plugins, "entry_points", lambda group: made.select(group=group))


def test_loads_what_packages_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the name of the entry point."""
    installed(monkeypatch, CUSTOM_A="fractions:Fraction")
    assert plugins.load(GROUP, {})["CUSTOM_A"].__name__ == "Fraction"


def test_built_in_name_cannot_be_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even loaded: what Placer calls VCPU is VCPU."""
    installed(monkeypatch, VCPU="no.such.module:Anything")
    assert plugins.load(GROUP, {"VCPU": object()}) == {}


def test_package_that_cannot_be_loaded_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing filter would choose wrong hosts, so it is an error that names the culprit."""
    installed(monkeypatch, CUSTOM_B="no.such.module:Anything")
    with pytest.raises(InvalidInput, match=r"CUSTOM_B .* cannot be loaded"):
        plugins.load(GROUP, {})
