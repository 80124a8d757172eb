"""An engine to ask what is left, also where ``./demo down`` stopped the one that it had started by hand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import engine as docker_engine


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with docker_engine.running(tmp_path_factory.mktemp("engine")):
        yield
