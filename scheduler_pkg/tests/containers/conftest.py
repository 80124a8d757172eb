"""An engine, an image made of this machine's own files, and a lab that leaves nothing behind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

import engine

from .lab import Lab, client, import_image, new_deployment


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with engine.running(tmp_path_factory.mktemp("engine")):
        api = client()
        made = import_image(api, new_deployment())
        yield made
        api.remove_image(made, force=True)
        api.close()


@pytest.fixture
async def lab(tmp_path: Path, image: str) -> AsyncIterator[Lab]:
    lab = Lab(tmp_path, new_deployment(), image)
    try:
        async with lab.serving():
            yield lab
    finally:
        lab.remove_all()
