"""Documents: every link inside the repository leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from deployment import ROOT
from placer import settings
from placer.model.event import AGENT_REFUSED
from placer.report.report import CrossCell, Report
from suites.process import tracked

PAGES = tracked("*.md")


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def links(page: Path) -> list[str]:
    """Targets of a page's links inside the repository."""
    targets = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def anchors(page: Path) -> set[str]:
    """What a link may have after its #: made of headings; a repeated one has a number."""
    found: set[str] = set()
    for title in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE):
        slug = base = re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
        number = 0
        while slug in found:
            number += 1
            slug = f"{base}-{number}"
        found.add(slug)
    return found


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    """Relative links name files that are there, and headings that the page has."""
    path = ROOT / page
    for target in links(path):
        file, _, heading = target.partition("#")
        goal = (path.parent / file) if file else path
        assert goal.exists(), f"{page}: {target}"
        if heading and goal.suffix == ".md":
            assert heading in anchors(goal), f"{page}: {target}"


def test_every_page_is_reached_from_the_readme() -> None:
    """No page that nobody finds: README.md leads to all of docs and all roles, link by link."""
    seen: set[Path] = set()
    ahead = [ROOT / "README.md"]
    while ahead:
        page = ahead.pop().resolve()
        if page not in seen and page.suffix == ".md" and page.exists():
            seen.add(page)
            ahead += [page.parent / target.partition("#")[0] for target in links(page)]
    lost = [page for page in PAGES if (ROOT / page).resolve() not in seen]
    assert lost == []


@pytest.mark.parametrize("page", PAGES)
def test_settings_that_a_page_names_exist(page: str) -> None:
    """Each `part.key` of a part of the settings is one that a process reads."""
    parts: dict[str, type[msgspec.Struct]] = {
        "cluster": settings.Cluster,
        "store": settings.Store,
        "api": settings.Api,
        "scheduler": settings.Scheduler,
        "agent": settings.Agent,
        "history": settings.History,
    }
    for part, key in re.findall(rf"`({'|'.join(parts)})\.(\w+)`", (ROOT / page).read_text()):
        known = {field.name for field in msgspec.structs.fields(parts[part])}
        assert key in known or f"{part}.{key}" == AGENT_REFUSED, f"{part}.{key}"


@pytest.mark.parametrize("struct", [Report, CrossCell])
def test_every_key_of_the_report_is_documented(struct: type[msgspec.Struct]) -> None:
    """docs/reference/report.md names each key that report.json has."""
    page = (ROOT / "docs/reference/report.md").read_text()
    for field in msgspec.structs.fields(struct):
        assert re.search(rf"`{field.encode_name}[`.]", page), field.encode_name
