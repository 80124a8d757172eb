"""One instance of a request on its way to another claim: what is so, and what comes next. Pure.

    asked      the request says what is wanted; the instance is where it was
    claimed    ``new`` names a claim elsewhere; the instance is where it was, until ``new`` is built
    swapped    ``new`` is the placement; ``old`` names the claim that is to be given up
    (done)     ``old`` is given up: the request does not name the move any more

An instance of a host that is down is *fenced* between claimed and built: its old claim becomes
``deleting``, so that the host, should it come back, destroys the instance before anything else. From
then on there is no way back, and no agent builds ``new`` before.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from placer.model.fitting import Demand
from placer.model.request import Move, MoveKind, Placement, Request, RequestSpec, Stage

#: Stages of a request whose moves go on.
GOES_ON: Final = (Stage.ACCEPTED, Stage.PLACED, Stage.BUILT, Stage.MOVING)


def settled_stage(placements: tuple[Placement, ...], moves: tuple[Move, ...] = ()) -> Stage:
    """The stage of a request that lacks no instance and goes on with these."""
    if moves:
        return Stage.MOVING
    return Stage.BUILT if all(placement.built for placement in placements) else Stage.PLACED


def stage_with(
    request: Request, placements: tuple[Placement, ...], moves: tuple[Move, ...]
) -> Stage:
    """The stage of ``request`` once it has these; what is open or over stays so."""
    if request.stage is Stage.ACCEPTED or request.stage not in GOES_ON:
        return request.stage
    if not placements and not moves:
        return Stage.FAILED if request.reason is not None else Stage.CANCELLED
    return settled_stage(placements, moves)


def placement_of(request: Request, instance: str) -> Placement | None:
    """Where the instance is."""
    return next((p for p in request.placements if p.instance == instance), None)


def move_of(request: Request, instance: str) -> Move | None:
    """What the instance is on its way to."""
    return next((move for move in request.moves if move.instance == instance), None)


def move_to(request: Request, claim: str) -> Move | None:
    """The move that brings its instance to ``claim``."""
    return next((m for m in request.moves if m.new is not None and m.new.claim == claim), None)


def elsewhere(request: Request, instance: str, claim: str) -> bool:
    """Whether the request names another claim than ``claim`` for the instance."""
    return any(held.instance == instance and held.claim != claim for held in request.held)


def may_build(request: Request, claim: str) -> bool:
    """Whether an agent may adopt ``claim``: the request names it, and nothing else runs for it."""
    move = move_to(request, claim)
    if move is not None:
        return move.fenced or move.kind is not MoveKind.EVACUATE
    return any(placement.claim == claim for placement in request.placements)


def replaced(request: Request, old: Move, new: Move | None) -> tuple[Move, ...]:
    """The request's moves with ``new`` (or nothing) in the place of ``old``."""
    swapped = [new if move.instance == old.instance else move for move in request.moves]
    return tuple(move for move in swapped if move is not None)


def swapped(request: Request, move: Move) -> dict[str, Any]:
    """Fields of ``request`` once ``move.new`` is built: it is the placement, the old one is left."""
    assert move.new is not None
    here = msgspec.structs.replace(move.new, built=True)
    left = placement_of(request, move.instance)
    placements = tuple(p for p in request.placements if p.instance != move.instance)
    moves = replaced(request, move, msgspec.structs.replace(move, new=None, old=left))
    return {"placements": (*placements, here), "moves": moves}


def forgotten(request: Request, move: Move, host: str) -> dict[str, Any]:
    """Fields of ``request`` once the claim on ``host`` will not be built; others are tried.

    A host that the caller named is the only one: the move is over then.
    """
    if move.host and not move.fenced:
        return dropped(request, move)
    tried = tuple(dict.fromkeys((*move.tried, host)))
    new = msgspec.structs.replace(move, new=None, tried=tried, host="", epoch=move.epoch + 1)
    return {"moves": replaced(request, move, new)}


def told(move: Move, what: str) -> str:
    """A change of ``move`` in words, for the request's history."""
    who = f" (asked by {move.by})" if move.by else ""
    return f"{move.kind} of {move.instance}{who}: {what}"


def dropped(request: Request, move: Move) -> dict[str, Any]:
    """Fields of ``request`` once ``move`` is over without a new place.

    What was fenced is lost: its old claim is on its way out, or gone.
    """
    moves = replaced(request, move, None)
    if not move.fenced:
        return {"moves": moves}
    left = tuple(p for p in request.placements if p.instance != move.instance)
    ended = request.ended + len(request.placements) - len(left)
    return {"moves": moves, "placements": left, "ended": ended}


def sought(request: Request, move: Move, leaving: Placement) -> Request:
    """``request`` as the choice of a new place for one instance sees it: that instance alone.

    Its claim keeps the instance's id; ``sought_for`` says which. The present host is avoided.
    """
    spec = msgspec.structs.replace(
        request.spec,
        count=1,
        partial=False,
        alternates=0,
        resources=move.resources or leaving.resources or request.spec.resources,
        **_target(request.spec, move, leaving),
    )
    return msgspec.structs.replace(
        request,
        spec=spec,
        placements=(),
        alternates=(),
        tried=(leaving.host, *move.tried),
        moves=(move,),
        ended=0,
        deadline_ms=move.deadline_ms,
    )


def _target(spec: RequestSpec, move: Move, leaving: Placement) -> dict[str, Any]:
    """Where to look: where the caller says, else where the request may go, its own cell first."""
    if move.host or move.cell:
        return {"host": move.host, "cell": move.cell or leaving.cell, "cells": (), "region": ""}
    others = (cell for cell in spec.cells if cell != leaving.cell)
    return {"host": "", "cell": "", "cells": (leaving.cell, *others), "region": ""}


def sought_for(request: Request) -> Move | None:
    """The move that a new claim of ``request`` is for, if it was made by ``sought``."""
    return request.moves[0] if len(request.moves) == 1 and not request.placements else None


def demand_of(request: Request, resources: dict[str, int]) -> Demand:
    """What an instance of ``request`` needs of its host if it is of this size."""
    return msgspec.structs.replace(request.spec, resources=resources).demand
