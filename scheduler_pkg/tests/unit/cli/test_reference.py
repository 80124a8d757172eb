"""The reference pages are what the code says."""

from __future__ import annotations

from pathlib import Path

import pytest

from placer import errors
from placer.cli.reference import Page, render

DOCS = Path(__file__).resolve().parents[4] / "docs" / "reference"


@pytest.mark.parametrize("page", [Page.ERRORS, Page.CLI, Page.HTTP_API])
def test_page_in_docs_is_up_to_date(page: Page) -> None:
    """``placer reference PAGE > docs/reference/PAGE.md`` renews it."""
    assert (DOCS / f"{page.value}.md").read_text() == render(page)


def test_no_two_errors_have_one_code() -> None:
    """A program can tell them apart, and each says what it means."""
    codes = [kind.code for kind in errors.table()]
    assert len(set(codes)) == len(codes)
    assert all(kind.__doc__ for kind in errors.table())


def test_all_codes_are_in_the_tree() -> None:
    """No module keeps a code of its own, which the page would not know."""
    source = Path(errors.__file__).parent
    elsewhere = [
        str(path.relative_to(source))
        for path in source.rglob("*.py")
        if path.name != "errors.py" and 'code = "placer.' in path.read_text()
    ]
    assert elsewhere == []
