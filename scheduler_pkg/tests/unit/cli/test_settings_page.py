"""The settings page is what the code says."""

from __future__ import annotations

from pathlib import Path

from placer.cli.settings import page

DOCS = Path(__file__).resolve().parents[4] / "docs" / "reference" / "settings.md"


def test_page_in_docs_is_up_to_date() -> None:
    """``placer settings > docs/reference/settings.md`` renews it."""
    assert DOCS.read_text() == page()
