"""Settings that contradict each other are refused when they are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from placer.errors import InvalidInput
from placer.settings import load

from .factories import BARE_SETTINGS

STORE = '[store]\nusername = "placer"\npassword_file = "/run/db"\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "placer.toml"
    path.write_text(text)
    return path


def test_an_agent_needs_no_nodes(tmp_path: Path) -> None:
    """It never speaks to the store."""
    assert load(written(tmp_path, BARE_SETTINGS)).home.contact_points == ()


def test_who_speaks_to_the_store_knows_nodes_of_each_cell(tmp_path: Path) -> None:
    """Else the driver's own words come, much later."""
    with pytest.raises(InvalidInput, match="each cell needs contact_points"):
        load(written(tmp_path, BARE_SETTINGS + STORE))
    named = BARE_SETTINGS + 'contact_points = ["10.0.0.1"]\n' + STORE
    assert load(written(tmp_path, named)).home.contact_points == ("10.0.0.1",)
