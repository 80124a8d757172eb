"""The HTTP contract: stories by microversion (http/<version>/*.yaml, gabbi), and its frozen structure.

A story is run against a server of its own. The structure of a version that was released never
changes: its file in versions/ is what the types said when it was, and a change of a type that shows
in it is a new version.
"""

from __future__ import annotations

import io
import os
import unittest
from pathlib import Path

import msgspec
import pytest
import yaml
from gabbi import handlers, suitemaker
from openapi_spec_validator import OpenAPIV31SpecValidator

from placer.api.native.document import document, frozen
from placer.api.native.versions import VERSIONS

from ..unit.api.live import serving

HERE = Path(__file__).parent
STORIES = sorted((HERE / "http").glob("*/*.yaml"))


@pytest.mark.parametrize("story", STORIES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_story(story: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step is answered as the story says."""
    with serving(tmp_path) as live:
        monkeypatch.setitem(os.environ, "PLACER_TOKEN", live.token)
        port = int(live.url.rpartition(":")[2])
        steps = suitemaker.test_suite_from_dict(
            unittest.TestLoader(),
            story.stem,
            yaml.safe_load(story.read_text()),
            str(story.parent),
            "127.0.0.1",
            port,
            None,
            None,
            test_loader_name="contract",
            handlers=[handler() for handler in handlers.RESPONSE_HANDLERS],
        )
        result = unittest.TextTestRunner(stream=io.StringIO()).run(steps)
    broken = [f"{test}\n{text}" for test, text in (*result.failures, *result.errors)]
    assert not broken, "\n".join(broken)
    assert result.testsRun > 0


def test_the_document_is_a_valid_one() -> None:
    """OpenAPI 3.1, by its maintained validator."""
    problems = list(OpenAPIV31SpecValidator(document()).iter_errors())
    assert problems == []


def test_the_newest_version_is_frozen() -> None:
    """Routes, parameters, bodies and answers are those of its file; only words may differ.

    Older versions are held by their stories; their files stay to be compared with.
    """
    newest = HERE / "versions" / f"{VERSIONS.max_version}.json"
    assert msgspec.json.decode(frozen()) == msgspec.json.decode(newest.read_bytes()), (
        f"The API differs from {newest.name}. A version that was released never changes: add a new "
        f"one, and freeze it: placer reference contract > {newest.name}"
    )
