"""Documents: every link inside the repository leads somewhere."""

from __future__ import annotations

import re

import msgspec
import pytest

from deployment import ROOT
from placer.report.report import CrossCell, Report
from suites.process import tracked

PAGES = tracked("*.md")


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    """Relative links name files that are there, and headings that the page has."""
    path = ROOT / page
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, heading = target.partition("#")
        goal = (path.parent / file) if file else path
        assert goal.exists(), f"{page}: {target}"
        if heading and goal.suffix == ".md":
            headings = re.findall(r"^#+ (.+)$", goal.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in headings}
            assert heading in slugs, f"{page}: {target}"


@pytest.mark.parametrize("struct", [Report, CrossCell])
def test_every_key_of_the_report_is_documented(struct: type[msgspec.Struct]) -> None:
    """docs/reference/report.md names each key that report.json has."""
    page = (ROOT / "docs/reference/report.md").read_text()
    for field in msgspec.structs.fields(struct):
        assert re.search(rf"`{field.encode_name}[`.]", page), field.encode_name
