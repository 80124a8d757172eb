"""Hosts for these tests alone: a lab in each cell, beside whatever else runs there."""

from __future__ import annotations

import pytest

from deployment import Deployment
from fixtures import api, make_lab
from lab import MakeLab, lab_trait

__all__ = ["api", "make_lab"]


@pytest.fixture
def everywhere(deployment: Deployment, make_lab: MakeLab) -> str:
    """The trait of a lab that has three hosts in each cell."""
    trait = lab_trait()
    for cell in deployment.cells:
        make_lab(cell, {f"h{number}": {} for number in range(3)}, trait=trait)
    return trait
