"""Quotas: how much of a resource class a project may hold over the whole deployment.

A limit is divided into a *slice* for each cell when it is put, and each cell keeps its own slice: a
row of kind ``quota`` beside its hosts, whose inventories are the slice and whose claims are the
*shares* that instances have of it. A cell that is cut off goes on with its slice. Slices that somebody
chose are stored; a quota that is divided equally is stored without, and every process divides it among
the cells that it knows: so a cell that is added has its slice from its first moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from placer.errors import InvalidInput, UnknownCell
from placer.model import resource_classes
from placer.model.records import MAX_INT
from placer.model.request import CLASSES_MAX, NAME_CHARS_MAX, shown

#: Projects with a quota: every scheduler keeps the list of them.
QUOTAS_MAX: Final = 4096
WEIGHT_MAX: Final = 1_000_000

_ROW: Final = "quota."


class QuotaSpec(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A quota as it is put.

    ``cells`` divides the limits: weights ({cell: 2}), or amounts ({cell: {class: 400}}) whose sums
    may not exceed the limits. Without it every cell has an equal part. Cells, and classes of a cell,
    that are left out have nothing.
    """

    limits: dict[str, int]
    cells: dict[str, int | dict[str, int]] = {}


class Quota(Struct, frozen=True, omit_defaults=True):
    """A quota as it is stored. ``rev`` orders what was put: it is the stored row's and only grows."""

    project: str
    limits: dict[str, int]
    #: Stored empty where it is divided equally among all cells there are (``stored``, ``among``).
    slices: dict[str, dict[str, int]]
    rev: int = 0

    def slice_of(self, cell: str) -> dict[str, int]:
        """The limits in ``cell``: 0 of every class where it has no slice."""
        held = self.slices.get(cell, {})
        return {name: held.get(name, 0) for name in self.limits}


class SliceView(Struct, frozen=True):
    """A cell's slice. Where the cell is not ``reachable`` it is not known what is used of it.

    ``used`` and ``left`` are by class; ``uncounted`` is the part of ``used`` that instances have which
    were there before the quota. What is used above the limit is not taken away.
    """

    cell: str
    reachable: bool
    limits: dict[str, int]
    used: dict[str, int]
    left: dict[str, int]
    uncounted: dict[str, int]


class QuotaView(Struct, frozen=True):
    """A quota and what is used of it. ``notes`` say in words what an operator should know."""

    project: str
    limits: dict[str, int]
    slices: tuple[SliceView, ...]
    notes: tuple[str, ...]


def row_id(cell: str, project: str) -> str:
    """The row of the project's slice in ``cell``."""
    return f"{_ROW}{cell}.{project}"


def is_row(row: str) -> bool:
    """Whether an id is that of a quota row."""
    return row.startswith(_ROW)


def share_id(claim: str) -> str:
    """The entry of a quota row that goes with ``claim``."""
    return f"{claim}/quota"


def check_project(project: str) -> str:
    """``project`` itself if it can have a quota; raises InvalidInput."""
    if not 1 <= len(project) <= NAME_CHARS_MAX:
        raise _wrong(
            f"A project's name of {len(project)} characters cannot be used.",
            f"Use 1 to {NAME_CHARS_MAX}.",
            "project",
        )
    return project


def new_quota(project: str, spec: QuotaSpec, cells: Sequence[str]) -> Quota:
    """``spec`` divided among ``cells``, all cells of the deployment; raises InvalidInput, UnknownCell."""
    check_project(project)
    if not 1 <= len(spec.limits) <= CLASSES_MAX:
        raise _wrong(
            f"The quota has {len(spec.limits)} limits.",
            f"Limit 1 to {CLASSES_MAX} resource classes.",
            "limits",
        )
    _check_amounts(spec.limits, "limits")
    for cell in spec.cells:
        if cell not in cells:
            raise UnknownCell(
                f"Unknown cell {cell[:100]!r}.",
                remedy=f"Known cells: {', '.join(sorted(cells))}.",
                field="cells",
            )
    return Quota(project, dict(spec.limits), _slices(spec, cells))


def stored(quota: Quota, spec: QuotaSpec) -> Quota:
    """``quota``, which was made of ``spec``, as it is stored."""
    return quota if spec.cells else msgspec.structs.replace(quota, slices={})


def among(quota: Quota, cells: Sequence[str]) -> Quota:
    """A stored quota with its slices in a deployment of ``cells``, all of them in the settings' order."""
    if quota.slices:
        return quota
    return msgspec.structs.replace(quota, slices=_divided(quota.limits, dict.fromkeys(cells, 1)))


def _check_amounts(amounts: Mapping[str, int], field: str) -> None:
    for name, amount in amounts.items():
        resource_classes.get(name)
        if not 0 <= amount <= MAX_INT:
            raise _wrong(
                f"The limit of {name} is {shown(amount)}.",
                f"Use a whole number from 0 to {MAX_INT}.",
                f"{field}.{name}",
            )


def _slices(spec: QuotaSpec, cells: Sequence[str]) -> dict[str, dict[str, int]]:
    explicit = {cell: part for cell, part in spec.cells.items() if isinstance(part, dict)}
    if not explicit:
        given = {cell: part for cell, part in spec.cells.items() if isinstance(part, int)}
        return _divided(spec.limits, _weights(given or dict.fromkeys(cells, 1)))
    if len(explicit) < len(spec.cells):
        raise _wrong(
            "cells has weights and amounts at once.", "Give every cell one of the two.", "cells"
        )
    for cell, amounts in explicit.items():
        _check_amounts(amounts, f"cells.{cell}")
        for name in amounts:
            if name not in spec.limits:
                raise _wrong(
                    f"Cell {cell} has a part of {name}, which is not limited.",
                    f"Put {name} into limits, or leave it out.",
                    f"cells.{cell}.{name}",
                )
    for name, limit in spec.limits.items():
        given_away = sum(amounts.get(name, 0) for amounts in explicit.values())
        if given_away > limit:
            raise _wrong(
                f"The cells' parts of {name} are {given_away} together, the limit is {limit}.",
                "Give the cells less, or raise the limit.",
                f"limits.{name}",
            )
    return {cell: dict(amounts) for cell, amounts in explicit.items()}


def _weights(weights: dict[str, int]) -> dict[str, int]:
    for cell, weight in weights.items():
        if not 0 <= weight <= WEIGHT_MAX:
            raise _wrong(
                f"The weight of cell {cell} is {shown(weight)}.",
                f"Use a whole number from 0 to {WEIGHT_MAX}.",
                f"cells.{cell}",
            )
    if not any(weights.values()):
        raise _wrong("No cell has a weight.", "Give one at least a weight of 1.", "cells")
    return weights


def _divided(limits: Mapping[str, int], weights: dict[str, int]) -> dict[str, dict[str, int]]:
    """Each limit by weight, whole numbers whose sum is the limit: the largest remainders go up."""
    whole = sum(weights.values())
    slices: dict[str, dict[str, int]] = {cell: {} for cell in weights}
    for name, limit in limits.items():
        for cell, weight in weights.items():
            slices[cell][name] = limit * weight // whole
        rest = limit - sum(part[name] for part in slices.values())
        by_remainder = sorted(weights, key=lambda cell: -(limit * weights[cell] % whole))
        for cell in by_remainder[:rest]:
            slices[cell][name] += 1
    return slices


def unseen(quota: Quota, cell: str) -> SliceView:
    """The slice of a cell that does not answer."""
    return SliceView(cell, False, quota.slice_of(cell), {}, {}, {})


def notes(quota: Quota, slices: Iterable[SliceView]) -> tuple[str, ...]:
    """What is used above its slice, what is in no slice, and which cells did not answer."""
    said = []
    for part in slices:
        if not part.reachable:
            said.append(f"Cell {part.cell} does not answer; it keeps to the slice it knows.")
        for name, limit in part.limits.items():
            used = part.used.get(name, 0)
            if used > limit:
                said.append(
                    f"Cell {part.cell} has {used} {name} in use, above its slice of {limit}: nothing "
                    "is taken away, and nothing more is given until less is used."
                )
    for name, limit in quota.limits.items():
        given = sum(part.get(name, 0) for part in quota.slices.values())
        if given < limit:
            said.append(f"{limit - given} of {limit} {name} are in no cell's slice.")
    return tuple(said)


def _wrong(message: str, remedy: str, field: str) -> InvalidInput:
    return InvalidInput(message, remedy=remedy, field=field)
