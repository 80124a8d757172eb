"""Quotas as they are put: how limits are divided among cells, and what is refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from placer.errors import InvalidInput, PlacerError, UnknownCell, UnknownResourceClass
from placer.model import quotas
from placer.model.quotas import Quota, QuotaSpec, SliceView

CELLS = ("a", "b", "c")


def put(**spec: Any) -> Quota:
    return quotas.new_quota("red", msgspec.convert(spec, QuotaSpec), CELLS)


@pytest.mark.parametrize(
    ("cells", "parts"),
    [
        pytest.param({}, (4, 3, 3), id="equal parts, the rest to the first"),
        pytest.param({"a": 1, "b": 1}, (5, 5, 0), id="cells left out have nothing"),
        pytest.param({"a": 2, "b": 1}, (7, 3, 0), id="by weight, the largest remainder goes up"),
        pytest.param({"a": 0, "c": 9}, (0, 0, 10), id="a weight of 0 is nothing"),
        pytest.param({"a": {"VCPU": 1}, "c": {"VCPU": 9}}, (1, 0, 9), id="parts as they are said"),
        pytest.param({"a": {}, "c": {"VCPU": 2}}, (0, 0, 2), id="parts may leave some over"),
    ],
)
def test_limit_is_divided(cells: dict[str, Any], parts: tuple[int, ...]) -> None:
    """Slices are whole numbers that never exceed the limit together."""
    made = put(limits={"VCPU": 10}, cells=cells)
    assert tuple(made.slice_of(cell)["VCPU"] for cell in CELLS) == parts
    assert sum(parts) <= 10


def test_slices_by_weight_add_up() -> None:
    """Nothing of a limit is lost in rounding, whatever the weights."""
    for limit in (0, 1, 7, 100, 2_147_483_647):
        for weights in ({"a": 1, "b": 1, "c": 1}, {"a": 7, "b": 13, "c": 1}, {"c": 1_000_000}):
            made = put(limits={"VCPU": limit, "DISK_GB": 3}, cells=weights)
            assert sum(made.slice_of(cell)["VCPU"] for cell in CELLS) == limit


def test_cell_that_came_later_has_nothing() -> None:
    """It is limited to 0 of each class until the quota is put again."""
    assert put(limits={"VCPU": 10}).slice_of("d") == {"VCPU": 0}


@pytest.mark.parametrize(
    ("spec", "error", "field"),
    [
        pytest.param({"limits": {}}, InvalidInput, "limits", id="no limits"),
        pytest.param(
            {"limits": {f"CUSTOM_C{n}": 1 for n in range(17)}},
            InvalidInput,
            "limits",
            id="too many limits",
        ),
        pytest.param({"limits": {"CPUS": 1}}, UnknownResourceClass, "", id="an unknown class"),
        pytest.param({"limits": {"VCPU": -1}}, InvalidInput, "limits.VCPU", id="below 0"),
        pytest.param({"limits": {"VCPU": 2**31}}, InvalidInput, "limits.VCPU", id="too large"),
        pytest.param(
            {"limits": {"VCPU": 1}, "cells": {"d": 1}}, UnknownCell, "cells", id="an unknown cell"
        ),
        pytest.param(
            {"limits": {"VCPU": 1}, "cells": {"a": 0}}, InvalidInput, "cells", id="no weight at all"
        ),
        pytest.param(
            {"limits": {"VCPU": 1}, "cells": {"a": -1}},
            InvalidInput,
            "cells.a",
            id="weight below 0",
        ),
        pytest.param(
            {"limits": {"VCPU": 1}, "cells": {"a": 1, "b": {"VCPU": 1}}},
            InvalidInput,
            "cells",
            id="weights and parts at once",
        ),
        pytest.param(
            {"limits": {"VCPU": 1}, "cells": {"a": {"DISK_GB": 1}}},
            InvalidInput,
            "cells.a.DISK_GB",
            id="a part of what is not limited",
        ),
        pytest.param(
            {"limits": {"VCPU": 9}, "cells": {"a": {"VCPU": 5}, "b": {"VCPU": 5}}},
            InvalidInput,
            "limits.VCPU",
            id="parts above the limit",
        ),
    ],
)
def test_what_cannot_be_is_refused(
    spec: dict[str, Any], error: type[PlacerError], field: str
) -> None:
    """The error names the part that is wrong and says what to do."""
    with pytest.raises(error) as raised:
        put(**spec)
    assert raised.value.remedy
    assert not field or raised.value.fields["field"] == field


@pytest.mark.parametrize("project", ["", "x" * 201], ids=["empty", "too long"])
def test_project_must_have_a_name(project: str) -> None:
    """The bounds are those of a request's project."""
    with pytest.raises(InvalidInput):
        quotas.new_quota(project, QuotaSpec({"VCPU": 1}), CELLS)


def test_notes_say_what_an_operator_should_know() -> None:
    """What is above its slice, what is in no slice, and who does not answer."""
    quota = put(limits={"VCPU": 10}, cells={"a": {"VCPU": 4}, "b": {"VCPU": 5}})
    slices = (
        SliceView("a", True, {"VCPU": 4}, {"VCPU": 7}, {"VCPU": 0}, {}),
        SliceView("b", True, {"VCPU": 5}, {"VCPU": 5}, {"VCPU": 0}, {}),
        quotas.unseen(quota, "c"),
    )
    above, silent, over = quotas.notes(quota, slices)
    assert "7 VCPU" in above
    assert "slice of 4" in above
    assert "Cell c" in silent
    assert "1 of 10 VCPU" in over


def test_equal_parts_are_those_of_the_cells_there_are() -> None:
    """Stored without slices; each deployment divides it among its own cells."""
    spec = QuotaSpec(limits={"VCPU": 12})
    stored = quotas.stored(quotas.new_quota("red", spec, CELLS), spec)
    assert stored.slices == {}
    assert quotas.among(stored, CELLS).slice_of("a") == {"VCPU": 4}
    more = quotas.among(stored, (*CELLS, "d"))
    assert [more.slice_of(cell)["VCPU"] for cell in (*CELLS, "d")] == [3, 3, 3, 3]


@pytest.mark.parametrize(
    "cells", [{"a": 2, "b": 1}, {"a": {"VCPU": 12}}], ids=["by weight", "by parts"]
)
def test_chosen_parts_stay_as_they_were_chosen(cells: dict[str, Any]) -> None:
    """A cell that is added has none of them until somebody says so."""
    spec = msgspec.convert({"limits": {"VCPU": 12}, "cells": cells}, QuotaSpec)
    made = quotas.new_quota("red", spec, CELLS)
    assert quotas.among(quotas.stored(made, spec), (*CELLS, "d")) == made
